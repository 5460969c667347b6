#include "support/table.h"

#include <algorithm>
#include <cstdio>
#include <utility>

namespace firn::bench {

void PrintAligned(const Rows& rows, size_t left) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  for (const auto& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) {
      const int width = static_cast<int>(widths[i]);
      std::printf("%s%*s", i == 0 ? "" : "  ", i < left ? -width : width, row[i].c_str());
    }
    std::printf("\n");
  }
  std::fflush(stdout);
}

std::string Short(double value) {
  constexpr std::pair<double, const char*> kUnits[] = {{1e9, " G"}, {1e6, " M"}, {1e3, " k"}};
  char text[32];
  for (const auto& [unit, name] : kUnits) {
    if (value < unit) continue;
    const double scaled = value / unit;
    std::snprintf(text, sizeof(text), "%.*f%s", scaled < 10 ? 2 : scaled < 100 ? 1 : 0, scaled, name);
    return text;
  }
  std::snprintf(text, sizeof(text), "%.3g", value);
  return text;
}

std::string Decimals(double value, int decimals) {
  char text[64];
  std::snprintf(text, sizeof(text), "%.*f", decimals, value);
  return text;
}

}  // namespace firn::bench
