// Bytes as text, for messages and dumps.
#pragma once

#include <string>

#include "base/coding.h"

namespace firn::base {

// Two lower-case digits for each byte.
std::string Hex(Bytes bytes);

// In quotes: printable bytes as they are, others, quotes and backslashes as \xNN. What is long is shortened, and its
// size said.
std::string Quoted(Bytes bytes);

}  // namespace firn::base
