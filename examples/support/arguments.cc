#include "support/arguments.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include <firn/limits.h>

#include "support/text.h"

namespace firn::tools {

absl::StatusOr<std::string> ArgumentBytes(const std::string& text, bool hex) {
  if (!hex) return text;
  std::optional<std::string> bytes = BytesOfHex(text);
  if (!bytes) return absl::InvalidArgumentError("'" + text + "' is not hexadecimal, two digits a byte, as --hex asks");
  return *std::move(bytes);
}

absl::StatusOr<std::string> ArgumentKey(const std::string& text, bool hex) {
  absl::StatusOr<std::string> key = ArgumentBytes(text, hex);
  if (key.ok() && (key->size() < kKeyBytesMin || key->size() > kKeyBytesMax)) {
    return absl::InvalidArgumentError("the key has " + std::to_string(key->size()) + " bytes; allowed are " +
                                      std::to_string(kKeyBytesMin) + " to " + std::to_string(kKeyBytesMax));
  }
  return key;
}

std::vector<std::string> LinesOf(std::string_view text) {
  std::vector<std::string> lines;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    lines.emplace_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return lines;
}

std::string CheckNotEmpty(const std::string& text) { return text.empty() ? "it is empty" : ""; }

std::string CheckNamespaceName(const std::string& text) {
  const bool valid =
      !text.empty() && text.size() <= kNamespaceNameBytesMax && std::all_of(text.begin(), text.end(), [](char c) {
        return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
      });
  return valid ? "" : "a namespace's name has 1..64 of A-Z a-z 0-9 _ -, not '" + text + "'";
}

std::string CheckUnsigned(const std::string& text) {
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool valid = error == std::errc() && end == text.data() + text.size();
  return valid ? "" : "'" + text + "' is not a whole number of 0 to 2^64 - 1";
}

}  // namespace firn::tools
