// How keys, values and what is known of them are printed: as text, as hexadecimal, or as JSON.
#pragma once

#include <string>
#include <string_view>

#include <firn/db.h>
#include <nlohmann/json.hpp>

namespace firn::tools {

using Json = nlohmann::ordered_json;

// For the terminal: escaped text or hexadecimal.
std::string Shown(std::string_view bytes, bool hex);

// JSON strings are Unicode, keys and values are bytes: sets "NAME" when `bytes` is UTF-8, else, or when `hex`
// is asked for, "NAME_hex".
void SetBytes(Json* object, const std::string& name, std::string_view bytes, bool hex);

// key, value, revision, expires_at_ms, metadata.
Json EntryJson(std::string_view key, std::string_view value, const ValueInfo& info, bool hex);

// One line of JSON on the standard output.
void PrintJson(const Json& json);
// Raw bytes on the standard output; a newline follows when that is a terminal.
void PrintRaw(std::string_view bytes);
void PrintPiece(std::string_view bytes);  // nothing follows
void PrintLine(std::string_view line);

// Whether everything printed so far has arrived.
bool FlushOutput();

}  // namespace firn::tools
