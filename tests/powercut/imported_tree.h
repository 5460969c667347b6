// A directory tree that `firn import` brings into a store, version after version, under power cuts. What the process
// was told is what it prints; what is there is what `firn export` writes: nothing else of firn is asked.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "support/rng.h"

namespace firn::test {

class ImportedTree {
 public:
  // `tool` is the firn program. Tree, listing and export lie in `folder`, out of the cuts' reach.
  ImportedTree(std::string tool, std::string folder, Rng rng);

  // Every file and link has something new in it.
  void WriteNextVersion();
  // Turns the calling process into the tool that imports the tree into the store, every commit synced and listed.
  // Returns if that cannot be.
  void BecomeImport(const std::string& store) const;
  // Takes in what that process printed before it ended or was killed. Throws Violation where that is not what an import
  // in its order prints, or where it says that all is done and something is missing.
  void ReadListing(bool said_done);
  // What was listed is there, and of the rest either what was there before or what was to come, the latter for as many
  // files as stand first in the order of the import, and for all or none where they were one batch; whole; and nothing
  // else. `firn verify` finds nothing. What is found is what has to be there after the next cut. Throws Violation.
  void Judge(const std::string& store);

  uint64_t acknowledged() const { return acknowledged_; }  // entries of all versions that were listed
  std::string error_text() const;                          // of the last import

 private:
  struct Entry {
    std::string key;
    bool is_link = false;
    std::string there;      // the label of what has to be in the store; empty: nothing
    std::string importing;  // of what the tree has, if that was not listed
  };

  std::string File(const std::string& name) const { return folder_ + "/" + name; }
  std::string Exported(const Entry& entry) const;

  const std::string tool_, folder_;
  Rng rng_;
  std::vector<Entry> entries_;  // in the order of the import
  uint64_t next_number_ = 1;
  uint64_t batch_bytes_ = 0;
  uint64_t acknowledged_ = 0;
};

}  // namespace firn::test
