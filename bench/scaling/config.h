// What a run of the benchmark is asked to do.
#pragma once

#include <string>
#include <vector>

namespace firn::bench {

struct Config {
  // Lists ascend; each may be empty.
  std::vector<double> key_millions = {1, 4, 16, 64};  // of stores of small values
  std::vector<double> value_gib = {1, 2, 4, 8, 16};   // of stores of large values
  std::vector<int> threads = {1, 2, 4, 8};
  double seconds = 2;  // of each figure that is measured for a time
  int runs = 3;
  std::string parent = "/var/tmp";  // where on the disk to work
  std::string json, svg;            // files; empty: none
};

}  // namespace firn::bench
