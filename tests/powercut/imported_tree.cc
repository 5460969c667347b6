#include "powercut/imported_tree.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <utility>

#include "powercut/machine.h"
#include "support/contents.h"
#include "support/recovery_check.h"

namespace firn::test {
namespace {

constexpr int kFolders = 6, kFilesPerFolder = 16;
constexpr uint64_t kOneBatchBytes = uint64_t{64} << 20;  // more than a version has

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void WriteFile(const std::string& path, const std::string& bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  if (!(file << bytes).flush()) throw HarnessError("cannot write " + path);
}

// Of the tool. Its output is the reason.
void RunTool(const std::string& command_line) {
  try {
    RunProgram(command_line);
  } catch (const HarnessError& error) {
    throw Violation(error.what());
  }
}

}  // namespace

ImportedTree::ImportedTree(std::string tool, std::string folder, Rng rng)
    : tool_(std::move(tool)), folder_(std::move(folder)), rng_(rng) {
  for (int i = 0; i < kFolders; ++i) {
    const std::string name = "folder" + std::to_string(i);
    std::filesystem::create_directories(File("tree/" + name));
    entries_.push_back({.key = name + "/a-link", .is_link = true});
    for (int j = 0; j < kFilesPerFolder; ++j) entries_.push_back({.key = name + "/file" + std::to_string(10 + j)});
  }
}

void ImportedTree::WriteNextVersion() {
  // Most of them go into the log; the rest are values of their own, a few of many batches' size.
  static constexpr uint64_t kBytesMax[] = {200, 5'000, 5'000, 60'000, 300'000};
  static constexpr uint64_t kBatchBytes[] = {1, 10'000, 40'000, kOneBatchBytes};
  batch_bytes_ = kBatchBytes[rng_.Below(std::size(kBatchBytes))];
  for (Entry& entry : entries_) {
    const std::string path = File("tree/" + entry.key);
    entry.importing = ContentLabel(next_number_++, rng_.Below(kBytesMax[rng_.Below(std::size(kBytesMax))]));
    if (entry.is_link) {
      std::filesystem::remove(path);
      std::filesystem::create_symlink(entry.importing, path);
    } else {
      WriteFile(path, ContentOf(entry.importing));
    }
  }
}

void ImportedTree::BecomeImport(const std::string& store) const {
  const int listing = ::open(File("listing").c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  const int errors = ::open(File("errors").c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (::dup2(listing, STDOUT_FILENO) < 0 || ::dup2(errors, STDERR_FILENO) < 0) return;
  ::execl(tool_.c_str(), "firn", "import", "--list", "--batch-bytes", std::to_string(batch_bytes_).c_str(),
          "--max-disk-mib", "96", store.c_str(), File("tree").c_str(), nullptr);
}

void ImportedTree::ReadListing(bool said_done) {
  std::set<std::string> listed;
  const std::string text = ReadFile(File("listing"));
  for (size_t at = 0, end = 0; (end = text.find('\n', at)) != std::string::npos; at = end + 1) {
    const std::string line = text.substr(at, end - at);
    const bool is_folder = line == "." || (line.starts_with("folder") && line.find('/') == std::string::npos);
    const bool is_summary = line.starts_with("imported ");
    if (!is_folder && !is_summary) listed.insert(line);
  }
  size_t count = 0;
  for (Entry& entry : entries_) {
    if (listed.count(entry.key) == 0) {
      if (said_done) throw Violation("firn import said that it was done and did not list " + entry.key);
      break;
    }
    ++count;
    entry.there = std::exchange(entry.importing, "");
    ++acknowledged_;
  }
  if (count != listed.size()) throw Violation("firn import listed what is not next in its order");
}

void ImportedTree::Judge(const std::string& store) {
  std::filesystem::remove_all(File("export"));
  RunTool(tool_ + " export " + store + " " + File("export"));
  const auto files = std::filesystem::recursive_directory_iterator(File("export"));
  const auto count = std::count_if(
      begin(files), end(files), [](const auto& each) { return !std::filesystem::is_directory(each.symlink_status()); });
  int64_t found_count = 0;
  std::string first_new, first_without;  // of what was importing: what is there, and what is not
  for (Entry& entry : entries_) {
    const std::string found = Exported(entry);
    if (!found.empty()) ++found_count;
    if (!entry.importing.empty() && found == entry.importing) {
      if (!first_without.empty()) throw Violation(entry.key + " is new, and " + first_without + " before it is not");
      if (first_new.empty()) first_new = entry.key;
      entry.there = found;
    } else if (found != entry.there) {
      throw Violation(entry.key + " has '" + found + "', not '" + entry.there + "'" +
                      (entry.importing.empty() ? "" : " or '" + entry.importing + "'"));
    } else if (!entry.importing.empty() && first_without.empty()) {
      first_without = entry.key;
    }
    entry.importing.clear();
  }
  if (batch_bytes_ == kOneBatchBytes && !first_new.empty() && !first_without.empty()) {
    throw Violation("half of a batch is there: " + first_new + ", and not " + first_without);
  }
  if (count != found_count) throw Violation("the store has files that nobody imported");
  RunTool(tool_ + " verify " + store);
}

std::string ImportedTree::Exported(const Entry& entry) const {
  const std::filesystem::path path = File("export/" + entry.key);
  if (!std::filesystem::exists(std::filesystem::symlink_status(path))) return "";
  return entry.is_link ? std::filesystem::read_symlink(path).string() : LabelOf(ReadFile(path));
}

std::string ImportedTree::error_text() const { return ReadFile(File("errors")); }

}  // namespace firn::test
