// json_get POINTER: parses every line of the standard input as JSON and prints what POINTER names in it, strings
// without quotes. Fails on a line that does not parse or lacks it, and on no lines at all.
#include <cstdio>
#include <iostream>
#include <string>

#include <nlohmann/json.hpp>

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  int lines = 0;
  try {
    for (std::string line; std::getline(std::cin, line); ++lines) {
      const nlohmann::json found = nlohmann::json::parse(line).at(nlohmann::json::json_pointer(argv[1]));
      std::cout << (found.is_string() ? found.get<std::string>() : found.dump()) << '\n';
    }
  } catch (const nlohmann::json::exception& error) {
    std::cerr << "json_get: " << error.what() << '\n';
    return 1;
  }
  return lines > 0 ? 0 : 1;
}
