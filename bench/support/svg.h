// A picture of lines, areas and words, for a browser.
#pragma once

#include <span>
#include <sstream>
#include <string>
#include <string_view>

namespace firn::bench {

// Places in pixels, from the upper left corner on.
class Svg {
 public:
  struct Point {
    double x = 0, y = 0;
  };
  enum class Anchor { kStart, kMiddle, kEnd };

  // What is drawn later covers what is there.
  void Text(Point at, std::string_view text, Anchor anchor = Anchor::kStart, std::string_view colour = "black");
  void Rect(Point upper_left, double width, double height, std::string_view colour);
  void Line(std::span<const Point> points, std::string_view colour, bool dashed = false);
  void Area(std::span<const Point> corners, std::string_view colour);
  void Dot(Point at, std::string_view colour);

  // False if it cannot be written.
  bool Write(const std::string& path, double width, double height) const;

 private:
  std::ostringstream elements_;
};

}  // namespace firn::bench
