#include "peers/report.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <optional>

#include <nlohmann/json.hpp>

#include "peers/workloads.h"

namespace firn::bench {
namespace {

// "3.71 M", three digits.
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

std::string Ratio(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.2f", value);
  return text;
}

std::optional<double> FigureOf(const Results& results, const Line& line, const std::string& engine,
                               std::string_view suffix = "") {
  const auto runs = results.find({std::string(line.group), engine});
  if (runs == results.end() || runs->second.empty()) return std::nullopt;
  const Figures combined = Combined(runs->second);
  const auto figure = combined.find(std::string(line.figure).append(suffix));
  return figure == combined.end() ? std::nullopt : std::optional(figure->second);
}

using Rows = std::vector<std::vector<std::string>>;

// The first column to the left, the others to the right.
void PrintAligned(const Rows& rows) {
  std::vector<size_t> widths(rows[0].size());
  for (const auto& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  for (const auto& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) {
      std::printf("%s%*s", i == 0 ? "" : "  ", static_cast<int>(widths[i]) * (i == 0 ? -1 : 1), row[i].c_str());
    }
    std::printf("\n");
  }
}

Rows WithHead(const char* title, const std::vector<std::string>& engines) {
  Rows rows(1, {title});
  rows[0].insert(rows[0].end(), engines.begin(), engines.end());
  return rows;
}

void PrintFigures(const Results& results, const Figures& limits, const std::vector<std::string>& engines) {
  Rows rows = WithHead("a second", engines);
  rows[0].insert(rows[0].end(), {"firn/best peer", "firn/limit"});
  for (const Line& line : Lines()) {
    std::vector<std::string> row = {std::string(line.title)};
    std::optional<double> firn, best;
    for (const std::string& engine : engines) {
      const auto figure = FigureOf(results, line, engine);
      row.push_back(figure ? Short(*figure) : "-");
      if (!figure) continue;
      if (engine == "firn") {
        firn = figure;
      } else {
        best = !best || (line.less_is_better ? *figure < *best : *figure > *best) ? *figure : *best;
      }
    }
    if (!firn && !best) continue;
    // Above 1 is better for firn, whatever the figure is.
    row.push_back(firn && best ? Ratio(line.less_is_better ? *best / *firn : *firn / *best) : "-");
    const auto limit = limits.find(std::string(line.limit));
    row.push_back(firn && limit != limits.end() ? Ratio(*firn * line.limit_factor / limit->second) : "");
    rows.push_back(std::move(row));
  }
  PrintAligned(rows);
}

// What a line's phase cost, where that was measured.
void PrintCosts(const Results& results, const std::vector<std::string>& engines, const char* title,
                std::string_view suffix) {
  Rows rows = WithHead(title, engines);
  for (const Line& line : Lines()) {
    std::vector<std::string> row = {std::string(line.title)};
    bool any = false;
    for (const std::string& engine : engines) {
      const auto figure = FigureOf(results, line, engine, suffix);
      row.push_back(figure ? Short(*figure) : "-");
      any = any || figure;
    }
    if (any) rows.push_back(std::move(row));
  }
  PrintAligned(rows);
}

void PrintMemory(const Results& results, const std::vector<std::string>& engines) {
  Rows rows = WithHead("peak memory, MiB", engines);
  for (const Group& group : Groups()) {
    const Line line{group.name, "peak_memory_mib_max", group.name, ""};
    std::vector<std::string> row = {std::string(group.name)};
    bool any = false;
    for (const std::string& engine : engines) {
      const auto figure = FigureOf(results, line, engine);
      row.push_back(figure ? Short(*figure) : "-");
      any = any || figure;
    }
    if (any) rows.push_back(std::move(row));
  }
  PrintAligned(rows);
}

}  // namespace

void PrintJson(std::string_view group, std::string_view engine, int run, const Figures& figures) {
  nlohmann::ordered_json line = {{"group", group}, {"engine", engine}, {"run", run}};
  for (const auto& [name, value] : figures) line[name] = value;
  std::printf("%s\n", line.dump().c_str());
  std::fflush(stdout);
}

void PrintTable(const Results& results, const Figures& limits, const std::vector<std::string>& engines) {
  std::printf("The machine:");
  for (const auto& [name, value] : limits) std::printf("  %s %s", name.c_str(), Short(value).c_str());
  std::printf("\n\n");
  PrintFigures(results, limits, engines);
  std::printf("\n");
  PrintCosts(results, engines, "CPU us an operation", "_cpu_us");
  std::printf("\n");
  PrintCosts(results, engines, "device bytes in all", "_device_bytes");
  std::printf("\n");
  PrintMemory(results, engines);
  std::fflush(stdout);
}

bool WritePlot(const std::string& path, const Results& results, const std::vector<std::string>& engines) {
  constexpr const char* kColours[] = {"#1f4e9c", "#c0504d", "#d9908e", "#7f9c3b", "#8064a2", "#b8860b"};
  constexpr int kBar = 9, kLeft = 240, kWidth = 600;
  std::ofstream file(path);
  std::string bars;
  int y = 40;
  for (const Line& line : Lines()) {
    std::vector<std::optional<double>> figures;
    double best = 0;
    for (const std::string& engine : engines) {
      figures.push_back(FigureOf(results, line, engine));
      best = std::max(best, figures.back().value_or(0));
    }
    if (best == 0) continue;
    char text[512];
    std::snprintf(text, sizeof(text), "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text>\n", kLeft - 8,
                  y + kBar * static_cast<int>(engines.size()) / 2 + 4, std::string(line.title).c_str());
    bars += text;
    for (size_t i = 0; i < engines.size(); ++i, y += kBar) {
      if (!figures[i]) continue;
      std::snprintf(text, sizeof(text), "<rect x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\" fill=\"%s\"/>\n", kLeft,
                    y, kWidth * *figures[i] / best, kBar - 1, kColours[i % std::size(kColours)]);
      bars += text;
    }
    y += kBar;
  }
  file << "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"" << kLeft + kWidth + 20 << "\" height=\"" << y + 10
       << "\" font-family=\"sans-serif\" font-size=\"11\">\n";
  for (size_t i = 0; i < engines.size(); ++i) {
    const size_t x = static_cast<size_t>(kLeft) + 100 * i;
    file << "<rect x=\"" << x << "\" y=\"12\" width=\"10\" height=\"10\" fill=\"" << kColours[i % std::size(kColours)]
         << "\"/><text x=\"" << x + 14 << "\" y=\"21\">" << engines[i] << "</text>\n";
  }
  file << bars << "</svg>\n";
  return static_cast<bool>(file.flush());
}

}  // namespace firn::bench
