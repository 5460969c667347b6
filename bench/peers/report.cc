#include "peers/report.h"

#include <algorithm>
#include <cstdio>
#include <optional>

#include "peers/workloads.h"
#include "support/json_line.h"
#include "support/svg.h"
#include "support/table.h"

namespace firn::bench {
namespace {

constexpr std::string_view kFirn = "firn";

std::optional<double> FigureOf(const Results& results, const Line& line, const std::string& engine,
                               std::string_view suffix = "") {
  const auto runs = results.find({std::string(line.group), engine});
  if (runs == results.end() || runs->second.empty()) return std::nullopt;
  const Figures combined = Combined(runs->second);
  const bool by_another = engine != kFirn && !line.peers_figure.empty();
  const auto figure = combined.find(std::string(by_another ? line.peers_figure : line.figure).append(suffix));
  return figure == combined.end() ? std::nullopt : std::optional(figure->second);
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
      if (engine == kFirn) {
        firn = figure;
      } else {
        best = !best || (line.less_is_better ? *figure < *best : *figure > *best) ? *figure : *best;
      }
    }
    if (!firn && !best) continue;
    // Above 1 is better for firn, whatever the figure is.
    row.push_back(firn && best ? Decimals(line.less_is_better ? *best / *firn : *firn / *best, 2) : "-");
    const auto limit = limits.find(std::string(line.limit));
    row.push_back(firn && limit != limits.end() ? Decimals(*firn * line.limit_factor / limit->second, 2) : "");
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
  std::printf("%s\n", JsonLine({{"group", group}, {"engine", engine}, {"run", run}}, figures).c_str());
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
  constexpr double kBar = 9, kLeft = 240, kWidth = 600;
  Svg svg;
  for (size_t i = 0; i < engines.size(); ++i) {
    const double x = kLeft + 100 * static_cast<double>(i);
    svg.Rect({x, 12}, 10, 10, kColours[i % std::size(kColours)]);
    svg.Text({x + 14, 21}, engines[i]);
  }
  double y = 40;
  for (const Line& line : Lines()) {
    std::vector<std::optional<double>> figures;
    double best = 0;
    for (const std::string& engine : engines) {
      figures.push_back(FigureOf(results, line, engine));
      best = std::max(best, figures.back().value_or(0));
    }
    if (best == 0) continue;
    svg.Text({kLeft - 8, y + kBar * static_cast<double>(engines.size()) / 2 + 4}, line.title, Svg::Anchor::kEnd);
    for (size_t i = 0; i < engines.size(); ++i, y += kBar) {
      if (figures[i]) svg.Rect({kLeft, y}, kWidth * *figures[i] / best, kBar - 1, kColours[i % std::size(kColours)]);
    }
    y += kBar;
  }
  return svg.Write(path, kLeft + kWidth + 20, y + 10);
}

}  // namespace firn::bench
