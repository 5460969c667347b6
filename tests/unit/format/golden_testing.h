// Golden files: the bytes of each structure as text, so that a change of the format is a change one sees in
// review.
//
// A file is a list of parts, each "# title" and lines of "offset  16 bytes  text"; "*" stands for lines of
// zeros that are left out, and a bare offset closes the part. To update after a deliberate change of the
// format:
//   FIRN_UPDATE_GOLDEN=1 firn_test_format "[golden]"
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "unit/format/testing.h"

namespace firn::format::testing {

struct Part {
  std::string title;
  Buffer bytes;
};

std::string HexText(const std::vector<Part>& parts);
// Reads what HexText wrote. Fails the test on text that is not of that form.
std::vector<Part> ParseHexText(std::string_view text);

// Where the sources of the project are, seen from this file.
std::string ReadSourceFile(std::string_view path_in_project);
// Compares with tests/golden/`name`.hex, or writes it if FIRN_UPDATE_GOLDEN is set. Returns the file's parts.
std::vector<Part> CheckGolden(std::string_view name, const std::vector<Part>& parts);

}  // namespace firn::format::testing
