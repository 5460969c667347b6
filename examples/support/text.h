// Bytes as text and back, and statuses as one line. Keys and values are arbitrary bytes; terminals are not.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <absl/status/status.h>

namespace firn::tools {

std::string HexOf(std::string_view bytes);
// No value when `hex` has an odd length or a character that is no hexadecimal digit.
std::optional<std::string> BytesOfHex(std::string_view hex);

// Printable ASCII and valid UTF-8 as they are; backslash, control bytes and stray bytes as \\, \t, \n, \r,
// \xNN.
std::string Escaped(std::string_view bytes);
// The same, but backslashes stay: for text of which parts may be escaped already.
std::string Printable(std::string_view text);
bool IsUtf8(std::string_view bytes);

// "12", "3.4 KiB", "5.6 MiB".
std::string BytesText(uint64_t bytes);
// "1,234,567".
std::string CountText(uint64_t count);

// A status' message, on one line; its code's name where it has none.
std::string MessageOf(const absl::Status& status);

}  // namespace firn::tools
