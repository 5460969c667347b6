// What the firn tool parses: hexadecimal, names, numbers, lines of keys, what `import` keeps beside a file, and keys
// that are to become paths; and what it prints: nothing that a terminal would obey.
//
//   input: anything
#include <charconv>
#include <string>

#include <firn/limits.h>

#include "fuzz/input.h"
#include "support/arguments.h"
#include "support/text.h"
#include "support/tree_entry.h"

namespace firn::fuzz {
namespace {

using namespace tools;

bool HasControlByte(const std::string& text) {
  return std::any_of(text.begin(), text.end(), [](char c) { return (c >= 0 && c < ' ') || c == '\x7f'; });
}

void CheckHex(const std::string& text) {
  const auto bytes = BytesOfHex(HexOf(text));
  Require(bytes && *bytes == text, "bytes come back from hexadecimal");
  if (const auto read = BytesOfHex(text)) {
    Require(read->size() * 2 == text.size(), "two digits make a byte");
    Require(BytesOfHex(HexOf(*read)) == read, "what was read as hexadecimal is written as the same");
  }
  for (const bool hex : {false, true}) {
    const auto key = ArgumentKey(text, hex);
    Require(!key.ok() || (key->size() >= kKeyBytesMin && key->size() <= kKeyBytesMax), "a key is within the limits");
    Require(key.ok() || absl::IsInvalidArgument(key.status()), "a key that is none is wrong usage");
  }
}

void CheckPrinted(const std::string& text) {
  const std::string escaped = Escaped(text), printable = Printable(text);
  Require(IsUtf8(escaped) && IsUtf8(printable), "what is printed is UTF-8");
  Require(!HasControlByte(escaped) && !HasControlByte(printable), "what is printed has no control bytes");
  Require(Printable(escaped) == escaped, "what is escaped needs no more of it");
  if (IsUtf8(text) && !HasControlByte(text)) Require(printable == text, "plain text is printed as it is");
}

void CheckNumber(const std::string& text) {
  uint64_t number = 0;
  if (!CheckUnsigned(text).empty()) return;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  Require(error == std::errc() && end == text.data() + text.size(), "an accepted number is a number");
}

void CheckTreeEntry(const std::string& text) {
  if (const auto info = ParseTreeMetadata(text)) {
    Require(info->mode <= 07777, "a mode is one");
    const auto again = ParseTreeMetadata(TreeMetadata(*info));
    Require(again && *again == *info, "metadata that was read and written again reads equal");
  }
  if (!IsSafeRelativePath(text)) return;
  const std::string path = "/" + text + "/";
  for (const char* bad : {"//", "/./", "/../"}) {
    Require(path.find(bad) == std::string::npos, "a safe path has no component that leads elsewhere");
  }
  Require(path.find('\0') == std::string::npos, "a safe path has no NUL");
}

void CheckLines(const std::string& text) {
  std::string again;
  for (const std::string& line : LinesOf(text)) {
    Require(line.find('\n') == std::string::npos, "a line is one");
    again += line + "\n";
  }
  if (!text.empty() && text.back() != '\n') again.pop_back();
  Require(again == text, "lines are all of the text");
}

}  // namespace
}  // namespace firn::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace firn::fuzz;
  const std::string text(Input(data, size).Rest());
  CheckHex(text);
  CheckPrinted(text);
  CheckNumber(text);
  CheckTreeEntry(text);
  CheckLines(text);
  if (firn::tools::CheckNamespaceName(text).empty()) {
    Require(!text.empty() && text.size() <= firn::kNamespaceNameBytesMax && !HasControlByte(text) &&
                text.find('/') == std::string::npos,
            "a namespace's name is one");
  }
  return 0;
}
