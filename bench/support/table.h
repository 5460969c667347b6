// Tables for people.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace firn::bench {

using Rows = std::vector<std::vector<std::string>>;

// On standard output: the first `left` columns to the left, the others to the right.
void PrintAligned(const Rows& rows, size_t left = 1);

// "3.71 M", three digits.
std::string Short(double value);
std::string Decimals(double value, int decimals);

}  // namespace firn::bench
