#include "support/svg.h"

#include <fstream>

namespace firn::bench {
namespace {

std::string Escaped(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '<') {
      escaped += "&lt;";
    } else if (c == '&') {
      escaped += "&amp;";
    } else {
      escaped += c;
    }
  }
  return escaped;
}

std::string Joined(std::span<const Svg::Point> points) {
  std::ostringstream text;
  for (const Svg::Point& point : points) text << point.x << ',' << point.y << ' ';
  return text.str();
}

}  // namespace

void Svg::Text(Point at, std::string_view text, Anchor anchor, std::string_view colour) {
  constexpr const char* kAnchors[] = {"start", "middle", "end"};
  elements_ << "<text x=\"" << at.x << "\" y=\"" << at.y << "\" text-anchor=\"" << kAnchors[static_cast<int>(anchor)]
            << "\" fill=\"" << colour << "\">" << Escaped(text) << "</text>\n";
}

void Svg::Rect(Point upper_left, double width, double height, std::string_view colour) {
  elements_ << "<rect x=\"" << upper_left.x << "\" y=\"" << upper_left.y << "\" width=\"" << width << "\" height=\""
            << height << "\" fill=\"" << colour << "\"/>\n";
}

void Svg::Line(std::span<const Point> points, std::string_view colour, bool dashed) {
  elements_ << "<polyline points=\"" << Joined(points) << "\" fill=\"none\" stroke=\"" << colour << '"'
            << (dashed ? " stroke-dasharray=\"3 3\"" : "") << "/>\n";
}

void Svg::Area(std::span<const Point> corners, std::string_view colour) {
  elements_ << "<polygon points=\"" << Joined(corners) << "\" fill=\"" << colour << "\"/>\n";
}

void Svg::Dot(Point at, std::string_view colour) {
  elements_ << "<circle cx=\"" << at.x << "\" cy=\"" << at.y << "\" r=\"3\" fill=\"" << colour << "\"/>\n";
}

bool Svg::Write(const std::string& path, double width, double height) const {
  std::ofstream file(path);
  file << "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"" << width << "\" height=\"" << height
       << "\" font-family=\"sans-serif\" font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
       << elements_.str() << "</svg>\n";
  return static_cast<bool>(file.flush());
}

}  // namespace firn::bench
