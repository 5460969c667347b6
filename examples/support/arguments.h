// What users write on the command line, checked and turned into keys, values and names.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <absl/status/statusor.h>

namespace firn::tools {

// A key or value as given on the command line. A key outside the limits is InvalidArgument, before any store is opened
// or made for it.
absl::StatusOr<std::string> ArgumentBytes(const std::string& text, bool hex);
absl::StatusOr<std::string> ArgumentKey(const std::string& text, bool hex);

// What stands between newlines; the last line may lack its own.
std::vector<std::string> LinesOf(std::string_view text);

// Checks for CLI::Option::check: what is wrong, empty if nothing is.
std::string CheckNotEmpty(const std::string& text);
std::string CheckNamespaceName(const std::string& text);
std::string CheckUnsigned(const std::string& text);  // the parser would take -1 for 2^64 - 1

}  // namespace firn::tools
