#include "support/contents.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <optional>

#include "support/rng.h"

namespace firn::test {
namespace {

struct Content {
  uint64_t number = 0, bytes = 0;
};

std::optional<Content> Parse(std::string_view label) {
  Content content;
  const char* const end = label.data() + label.size();
  const auto number = std::from_chars(label.data(), end, content.number);
  if (number.ec != std::errc() || number.ptr == end || *number.ptr != '/') return std::nullopt;
  const auto bytes = std::from_chars(number.ptr + 1, end, content.bytes);
  if (bytes.ec != std::errc() || bytes.ptr != end) return std::nullopt;
  return content;
}

}  // namespace

std::string ContentLabel(uint64_t number, uint64_t bytes) {
  return std::to_string(number) + "/" + std::to_string(bytes);
}

std::string ContentOf(std::string_view label) {
  const std::optional<Content> content = Parse(label);
  if (!content) return std::string(label);
  std::string value(label);
  value += '\n';
  const size_t head_bytes = value.size();
  value.resize(std::max<uint64_t>(head_bytes, content->bytes));
  Rng rng(content->number);
  for (size_t at = head_bytes; at < value.size(); at += sizeof(uint64_t)) {
    const uint64_t word = rng.Next();
    std::memcpy(value.data() + at, &word, std::min(sizeof(word), value.size() - at));
  }
  return value;
}

bool IsLabel(std::string_view text) { return text.empty() || Parse(text).has_value(); }

std::string LabelOf(std::string_view value) {
  if (value.empty()) return "";
  const std::string_view label = value.substr(0, value.find('\n'));
  if (Parse(label) && ContentOf(label) == value) return std::string(label);
  constexpr size_t kShownBytes = 40;
  return "no value that was ever put: " + std::to_string(value.size()) + " bytes that begin with '" +
         std::string(value.substr(0, kShownBytes)) + "'";
}

}  // namespace firn::test
