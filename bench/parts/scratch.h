// Where a benchmark of one layer keeps its files: a directory in FIRN_TEST_DIR, else in /tmp, that goes away with it.
#pragma once

#include <cstdlib>
#include <string>

#include "base/check.h"
#include "support/workplace.h"

namespace firn::bench {

class ScratchDirectory : public FreshDirectory {
 public:
  ScratchDirectory() : FreshDirectory(Parent(), "firn-bench") { FIRN_CHECK(!path().empty()); }

 private:
  static std::string Parent() {
    const char* parent = std::getenv("FIRN_TEST_DIR");
    return parent == nullptr ? "/tmp" : parent;
  }
};

}  // namespace firn::bench
