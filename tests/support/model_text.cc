// What the messages of violations say of calls, keys and entries.
#include <cstdio>
#include <string>

#include "support/model.h"

namespace firn::test {

std::string Shorten(const std::string& text) {
  constexpr size_t kShownMax = 40;
  std::string shown;
  for (const char letter : text.substr(0, kShownMax)) {
    if (letter >= ' ' && letter <= '~') {
      shown += letter;
    } else {
      char escaped[8];
      std::snprintf(escaped, sizeof(escaped), "\\x%02x", static_cast<unsigned>(static_cast<unsigned char>(letter)));
      shown += escaped;
    }
  }
  if (text.size() > kShownMax) shown += "...(" + std::to_string(text.size()) + " bytes)";
  return shown;
}

std::string When(const Window& window) {
  return " (ticks " + std::to_string(window.invoked) + ".." + std::to_string(window.replied) + ", wall " +
         std::to_string(window.wall_ms_min) + ".." + std::to_string(window.wall_ms_max) + ")";
}

std::string Describe(const KeyId& key) { return std::to_string(key.space) + ":" + Shorten(key.key); }

std::string Describe(const std::optional<Entry>& entry) {
  if (!entry) return "absent";
  return "'" + Shorten(entry->value) + "' meta '" + Shorten(entry->metadata) + "' revision " +
         std::to_string(entry->revision) + " expires " + std::to_string(entry->expires_at_ms);
}

std::string Describe(const Seen& seen) {
  if (!seen.present) return "absent";
  std::string text = "present";
  if (seen.value) text += " '" + Shorten(*seen.value) + "'";
  if (seen.metadata) text += " meta '" + Shorten(*seen.metadata) + "'";
  if (seen.revision) text += " revision " + std::to_string(*seen.revision);
  if (seen.expires_at_ms) text += " expires " + std::to_string(*seen.expires_at_ms);
  return text;
}

std::string Describe(const WriteCall& call) {
  std::string text = call.batch ? "batch [" : "[";
  for (const WriteStep& step : call.steps) {
    text += step.kind == WriteStep::Kind::kPut ? "put " : step.kind == WriteStep::Kind::kDelete ? "delete " : "expire ";
    text += Describe(step.key) + " ";
  }
  return text + "] revision " + std::to_string(call.revision) + " ticks " + std::to_string(call.invoked) + ".." +
         std::to_string(call.replied);
}

}  // namespace firn::test
