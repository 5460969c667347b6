#include "sim/regressions.h"

#include <fstream>
#include <sstream>
#include <stdexcept>

namespace firn::test {
namespace {

bool ReadNumber(std::istream& words, uint64_t& number) {
  std::string word;
  if (!(words >> word) || word.find_first_not_of("0123456789") != std::string::npos || word.size() > 19) return false;
  number = std::stoull(word);
  return true;
}

bool ReadNames(std::istream& words, Simpler& simpler) {
  std::string names, name;
  if (!(words >> names)) return false;
  for (std::istringstream each(names); std::getline(each, name, ',');) {
    if (!simpler.Set(name)) return false;
  }
  return true;
}

bool ReadSeed(std::istream& words, SeedOptions& options) {
  if (!ReadNumber(words, options.seed)) return false;
  for (std::string word; words >> word;) {
    const bool known = word == "--simpler"     ? ReadNames(words, options.simpler)
                       : word == "--calls-max" ? ReadNumber(words, options.simpler.calls_max)
                                               : false;
    if (!known) return false;
  }
  return true;
}

}  // namespace

std::vector<SeedOptions> ReadRegressions(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error(path + " cannot be read");
  std::vector<SeedOptions> seeds;
  size_t number = 0;
  for (std::string line; std::getline(file, line);) {
    ++number;
    std::istringstream words(line.substr(0, line.find('#')));
    if ((words >> std::ws).eof()) continue;
    if (!ReadSeed(words, seeds.emplace_back())) {
      throw std::runtime_error(path + ":" + std::to_string(number) + ": not SEED [--simpler NAMES] [--calls-max N]");
    }
  }
  if (seeds.empty()) throw std::runtime_error(path + " names no seed");
  return seeds;
}

}  // namespace firn::test
