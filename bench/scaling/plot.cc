#include "scaling/plot.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "support/svg.h"
#include "support/table.h"

namespace firn::bench {
namespace {

constexpr double kPanelWidth = 230, kPanelHeight = 190;  // with what is between two
constexpr double kPlotWidth = 170, kPlotHeight = 110, kPlotLeft = 25, kPlotTop = 40;
constexpr double kLeft = 10, kTop = 30;
constexpr const char* kBlue = "#1f4e9c";
constexpr const char* kGrey = "#e4e4e4";
constexpr const char* kDarkGrey = "#777777";

struct Value {
  double x = 0, y = 0;
  std::string x_text;
  double bound_from = 0, bound_to = 0;  // 0: there is none
};

struct Panel {
  std::string title;
  std::vector<Value> values;  // x ascends
};

// The horizontal axis is the logarithm of x.
class Axes {
 public:
  Axes(Svg::Point corner, const std::vector<Value>& values) : corner_(corner) {
    x_min_ = std::log2(values.front().x);
    x_max_ = std::max(std::log2(values.back().x), x_min_ + 1);
    for (const Value& value : values) y_max_ = std::max({y_max_, value.y, value.bound_to});
    if (y_max_ == 0) y_max_ = 1;
  }
  Svg::Point At(double x, double y) const {
    return {corner_.x + kPlotLeft + kPlotWidth * (std::log2(x) - x_min_) / (x_max_ - x_min_),
            corner_.y + kPlotTop + kPlotHeight * (1 - y / y_max_)};
  }

 private:
  const Svg::Point corner_;
  double x_min_, x_max_, y_max_ = 0;
};

void Draw(Svg& svg, Svg::Point corner, const Panel& panel) {
  const Axes axes(corner, panel.values);
  svg.Text({corner.x, corner.y + 12}, panel.title);
  std::vector<Svg::Point> area, points;
  for (const Value& value : panel.values) {
    points.push_back(axes.At(value.x, value.y));
    if (value.bound_to > 0) area.push_back(axes.At(value.x, value.bound_to));
  }
  for (auto value = panel.values.rbegin(); value != panel.values.rend(); ++value) {
    if (value->bound_to > 0) area.push_back(axes.At(value->x, value->bound_from));
  }
  if (!area.empty()) svg.Area(area, kGrey);
  const double y_zero = corner.y + kPlotTop + kPlotHeight, x_zero = corner.x + kPlotLeft;
  const Svg::Point zero[] = {{x_zero, y_zero}, {x_zero + kPlotWidth, y_zero}};
  svg.Line(zero, kDarkGrey);
  svg.Line(points, kBlue);
  for (size_t i = 0; i < points.size(); ++i) {
    svg.Dot(points[i], kBlue);
    svg.Text({points[i].x, points[i].y - 6}, Short(panel.values[i].y), Svg::Anchor::kMiddle, kBlue);
    svg.Text({points[i].x, y_zero + 14}, panel.values[i].x_text, Svg::Anchor::kMiddle, kDarkGrey);
  }
}

std::vector<Panel> PanelsOfSizes(const std::vector<const Result*>& sizes) {
  std::vector<Panel> panels;
  for (const Cost& cost : Costs()) {
    const std::string figure(cost.figure);
    Panel panel{std::string(cost.title), {}};
    for (const Result* size : sizes) {
      const double logarithm = sizes[0]->figures.at(figure) * LogarithmGrowth(sizes[0]->measured, size->measured);
      panel.values.push_back({.x = static_cast<double>(size->measured.keys),
                              .y = size->figures.at(figure),
                              .x_text = size->measured.size,
                              .bound_from = logarithm,
                              .bound_to = logarithm * kTolerance});
    }
    panels.push_back(std::move(panel));
  }
  return panels;
}

std::vector<Panel> PanelsOfThreads(const Result& result, const std::vector<int>& threads) {
  std::vector<Panel> panels;
  for (const auto& [operation, title] : {std::pair("get_", "gets a second"), std::pair("put_", "puts a second")}) {
    Panel panel{title, {}};
    for (const int number : threads) {
      const std::string text = std::to_string(number);
      panel.values.push_back(
          {.x = static_cast<double>(number), .y = result.figures.at(operation + text), .x_text = text});
    }
    panels.push_back(std::move(panel));
  }
  return panels;
}

}  // namespace

bool WritePlots(const std::string& path, const Results& results, const Config& config) {
  Svg svg;
  const double width = 2 * kLeft + kPanelWidth * static_cast<double>(Costs().size());
  svg.Text({kLeft, 18},
           "firn: what one operation costs in stores of different sizes. Grey: from as fast as the "
           "logarithm of the number of keys to " +
               Decimals(kTolerance, 1) + " times that.",
           Svg::Anchor::kStart, kDarkGrey);
  double y = kTop;
  for (const Series series : {Series::kSmallValues, Series::kLargeValues, Series::kThreads}) {
    const std::vector<const Result*> sizes = InSeries(results, series);
    if (sizes.empty()) continue;
    const bool threads = series == Series::kThreads;
    const std::string title(TitleOf(series));
    svg.Text({kLeft, y + 20}, threads ? sizes[0]->measured.size + " keys, " + title : title);
    double x = kLeft;
    for (const Panel& panel : threads ? PanelsOfThreads(*sizes[0], config.threads) : PanelsOfSizes(sizes)) {
      Draw(svg, {x, y + 30}, panel);
      x += kPanelWidth;
    }
    y += 30 + kPanelHeight;
  }
  return svg.Write(path, width, y + 10);
}

}  // namespace firn::bench
