#include "firn/output.h"

#include <cstdio>

#include "support/files.h"
#include "support/text.h"

namespace firn::tools {

std::string Shown(std::string_view bytes, bool hex) { return hex ? HexOf(bytes) : Escaped(bytes); }

void SetBytes(Json* object, const std::string& name, std::string_view bytes, bool hex) {
  if (hex || !IsUtf8(bytes)) {
    (*object)[name + "_hex"] = HexOf(bytes);
  } else {
    (*object)[name] = std::string(bytes);
  }
}

Json EntryJson(std::string_view key, std::string_view value, const ValueInfo& info, bool hex) {
  Json object;
  SetBytes(&object, "key", key, hex);
  SetBytes(&object, "value", value, hex);
  object["value_bytes"] = value.size();
  object["revision"] = info.revision;
  object["expires_at_ms"] = info.expires_at_ms;
  SetBytes(&object, "metadata", info.metadata, hex);
  return object;
}

void PrintJson(const Json& json) {
  // Messages may quote paths and names, which are bytes: what is not UTF-8 becomes U+FFFD.
  PrintLine(json.dump(-1, ' ', false, Json::error_handler_t::replace));
}

void PrintRaw(std::string_view bytes) {
  PrintPiece(bytes);
  if (StdoutIsTerminal() && !bytes.ends_with('\n')) std::fputc('\n', stdout);
}

void PrintPiece(std::string_view bytes) { std::fwrite(bytes.data(), 1, bytes.size(), stdout); }

void PrintLine(std::string_view line) {
  PrintPiece(line);
  std::fputc('\n', stdout);
}

bool FlushOutput() { return std::fflush(stdout) == 0 && std::ferror(stdout) == 0; }

}  // namespace firn::tools
