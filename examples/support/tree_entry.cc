#include "support/tree_entry.h"

#include <charconv>
#include <cstdio>

namespace firn::tools {
namespace {

constexpr std::string_view kVersionWord = "tree:1";
constexpr size_t kNanosDigits = 9;
constexpr uint32_t kModeMax = 07777;

// Cuts the text up to `separator` off the front of `rest`.
std::string_view TakeWord(std::string_view* rest, char separator) {
  const size_t end = rest->find(separator);
  const std::string_view word = rest->substr(0, end);
  rest->remove_prefix(end == std::string_view::npos ? rest->size() : end + 1);
  return word;
}

template <typename T>
bool ParseNumber(std::string_view text, int base, T* number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *number, base);
  return error == std::errc() && end == text.data() + text.size();
}

const char* WordOf(FileKind kind) {
  return kind == FileKind::kDirectory ? "dir" : kind == FileKind::kSymlink ? "link" : "file";
}

std::optional<FileKind> KindOf(std::string_view word) {
  for (const FileKind kind : {FileKind::kRegular, FileKind::kDirectory, FileKind::kSymlink}) {
    if (word == WordOf(kind)) return kind;
  }
  return std::nullopt;
}

}  // namespace

std::string TreeMetadata(const FileInfo& info) {
  char text[96];
  std::snprintf(text, sizeof(text), "%s %s %04o %lld.%09u", kVersionWord.data(), WordOf(info.kind),
                info.mode & kModeMax, static_cast<long long>(info.mtime_seconds), info.mtime_nanos);
  return text;
}

std::optional<FileInfo> ParseTreeMetadata(std::string_view text) {
  if (TakeWord(&text, ' ') != kVersionWord) return std::nullopt;
  const std::optional<FileKind> kind = KindOf(TakeWord(&text, ' '));
  if (!kind) return std::nullopt;
  FileInfo info;
  info.kind = *kind;
  if (!ParseNumber(TakeWord(&text, ' '), 8, &info.mode) || info.mode > kModeMax) return std::nullopt;
  if (!ParseNumber(TakeWord(&text, '.'), 10, &info.mtime_seconds)) return std::nullopt;
  if (text.size() != kNanosDigits || !ParseNumber(text, 10, &info.mtime_nanos)) return std::nullopt;
  return info;
}

bool IsSafeRelativePath(std::string_view key) {
  if (key.empty() || key.find('\0') != std::string_view::npos) return false;
  while (true) {
    const size_t end = key.find('/');
    const std::string_view component = key.substr(0, end);
    if (component.empty() || component == "." || component == "..") return false;
    if (end == std::string_view::npos) return true;
    key.remove_prefix(end + 1);
  }
}

}  // namespace firn::tools
