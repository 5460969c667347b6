// Values that a few bytes describe: a log of calls names them by label, and whoever finds one on a disk can tell
// whether it is whole, to the byte, and which call wrote it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace firn::test {

// "NUMBER/BYTES". Contents of different numbers differ in nearly every byte.
std::string ContentLabel(uint64_t number, uint64_t bytes);
// The value that a label stands for: the label, then bytes that follow from the number. The empty label stands for the
// empty value, and a value is never shorter than its label.
std::string ContentOf(std::string_view label);
// The label of a value; of what no label stands for, a description that is none.
std::string LabelOf(std::string_view value);
bool IsLabel(std::string_view text);

}  // namespace firn::test
