#include "scaling/options.h"

#include <algorithm>
#include <charconv>
#include <sstream>
#include <string_view>
#include <type_traits>

#include <CLI/CLI.hpp>

namespace firn::bench {
namespace {

template <typename Number>
struct Bounds {
  Number min, max;
};

template <typename Number>
Number Parsed(const std::string& option, std::string_view text, Bounds<Number> bounds) {
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool is_number = error == std::errc() && end == text.data() + text.size();
  // Written so that what compares with nothing is refused too.
  if (is_number && number >= bounds.min && number <= bounds.max) return number;
  std::ostringstream message;
  message << "'" << text << "' is no " << (std::is_integral_v<Number> ? "whole " : "") << "number from " << bounds.min
          << " to " << bounds.max;
  throw CLI::ValidationError(option, message.str());
}

// Ascending, each number once.
template <typename Number>
std::vector<Number> ParsedList(const std::string& option, std::string_view text, Bounds<Number> bounds) {
  std::vector<Number> numbers;
  if (text == "none") return numbers;
  while (true) {
    const size_t comma = text.find(',');
    numbers.push_back(Parsed(option, text.substr(0, comma), bounds));
    if (comma == text.npos) break;
    text.remove_prefix(comma + 1);
  }
  std::sort(numbers.begin(), numbers.end());
  numbers.erase(std::unique(numbers.begin(), numbers.end()), numbers.end());
  return numbers;
}

template <typename Number>
CLI::Option* AddNumber(CLI::App& app, const std::string& name, Number& number, Bounds<Number> bounds,
                       const std::string& help) {
  const auto parse = [&number, name, bounds](const std::string& text) { number = Parsed(name, text, bounds); };
  return app.add_option_function<std::string>(name, parse, help)->type_name("N");
}

template <typename Number>
CLI::Option* AddList(CLI::App& app, const std::string& name, std::vector<Number>& list, Bounds<Number> bounds,
                     const std::string& help) {
  const auto parse = [&list, name, bounds](const std::string& text) { list = ParsedList(name, text, bounds); };
  return app.add_option_function<std::string>(name, parse, help)->type_name("LIST");
}

}  // namespace

std::optional<Config> ParseOptions(int argc, char** argv, int& exit_code) {
  Config config;
  bool quick = false;
  CLI::App app("How the cost of firn's operations grows with the number of keys, of bytes, and of threads");
  const auto* keys = AddList<double>(app, "--keys", config.key_millions, {0.001, 4'096},
                                     "Millions of keys, values of 100 bytes (default 1,4,16,64), or none");
  const auto* gib = AddList<double>(app, "--value-gib", config.value_gib, {0.01, 4'096},
                                    "GiB of values of 4 KiB (default 1,2,4,8,16), or none");
  AddList<int>(app, "--threads", config.threads, {1, 256},
               "Threads at once, in a store of 4 million keys, or of the most keys where those are fewer "
               "(default 1,2,4,8), or none");
  const auto* seconds =
      AddNumber<double>(app, "--seconds", config.seconds, {0.05, 600}, "For each figure that takes a time (default 2)");
  const auto* runs = AddNumber<int>(app, "--runs", config.runs, {1, 100},
                                    "Runs of everything; medians are given (default 3; published: 5)");
  app.add_option("--dir", config.parent, "Where on the disk to work (default /var/tmp); emptied again afterwards")
      ->check(CLI::ExistingDirectory);
  app.add_option("--json", config.json, "Write each run, the medians and the verdict to this file too, as JSON lines")
      ->type_name("FILE");
  app.add_option("--svg", config.svg, "Draw each figure over the number of keys, into this file")->type_name("FILE");
  app.add_flag("--quick", quick, "A look: 0.25 and 1 million keys, no large values, 0.3 s for a figure, one run");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    exit_code = app.exit(error);
    return std::nullopt;
  }
  if (quick) {
    if (keys->count() == 0) config.key_millions = {0.25, 1};
    if (gib->count() == 0) config.value_gib = {};
    if (seconds->count() == 0) config.seconds = 0.3;
    if (runs->count() == 0) config.runs = 1;
  }
  return config;
}

}  // namespace firn::bench
