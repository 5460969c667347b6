#include "base/text.h"

#include <algorithm>

namespace firn::base {

std::string Hex(Bytes bytes) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const std::byte b : bytes) {
    text += kDigits[static_cast<unsigned>(b) >> 4];
    text += kDigits[static_cast<unsigned>(b) & 15];
  }
  return text;
}

std::string Quoted(Bytes bytes) {
  constexpr size_t kShown = 64;
  std::string text = "\"";
  for (const std::byte& b : bytes.first(std::min(bytes.size(), kShown))) {
    const char c = static_cast<char>(b);
    const bool plain = c >= ' ' && c <= '~' && c != '"' && c != '\\';
    text += plain ? std::string(1, c) : "\\x" + Hex({&b, 1});
  }
  text += bytes.size() > kShown ? "\"... (" + std::to_string(bytes.size()) + " bytes)" : "\"";
  return text;
}

}  // namespace firn::base
