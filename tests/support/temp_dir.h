// A directory for one test, removed with all it holds. Under FIRN_TEST_DIR if set, else TMPDIR, else /tmp.
#pragma once

#include <stdlib.h>

#include <cstdio>
#include <filesystem>
#include <string>

#include "base/check.h"

namespace firn::testing {

class TempDir {
 public:
  // `parent` overrides the environment.
  explicit TempDir(std::string parent = "") {
    if (parent.empty()) parent = Parent();
    path_ = parent + "/firn-test-XXXXXX";
    if (::mkdtemp(path_.data()) == nullptr) {
      std::perror(("cannot make a test directory in " + parent).c_str());
      FIRN_CHECK(false);
    }
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;

  const std::string& path() const { return path_; }
  std::string File(const std::string& name) const { return path_ + "/" + name; }

 private:
  static std::string Parent() {
    for (const char* variable : {"FIRN_TEST_DIR", "TMPDIR"}) {
      if (const char* value = std::getenv(variable); value != nullptr && *value != '\0') return value;
    }
    return "/tmp";
  }

  std::string path_;
};

}  // namespace firn::testing
