// What a simulated disk holds: files and folders, each as programs see it now and as it would be found after a power
// cut. Plain state, no locks and no scheduling; sim_disk.h adds those.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/coding.h"
#include "support/rng.h"

namespace firn::test {

inline constexpr uint64_t kPageBytes = 4096;
inline constexpr uint64_t kSectorBytes = 512;  // what a device writes whole

struct Page : std::array<std::byte, kPageBytes> {
  mutable uint64_t hash = 0;  // of a page that does not change any more, once somebody has asked; 0: nobody has
};
using PageRef = std::shared_ptr<const Page>;  // null: zeros
using Pages = std::map<uint64_t, PageRef>;    // by page number; absent: zeros

// What a power cut leaves of that which was never synced.
enum class Survival {
  kNothing,
  kEverything,
  kPages,    // each page by itself
  kSectors,  // each 512-byte sector by itself: pages are torn
};
inline constexpr Survival kSurvivals[] = {Survival::kNothing, Survival::kEverything, Survival::kPages,
                                          Survival::kSectors};

// Which sectors of a page arrived: bit i for sector i.
using Sectors = uint8_t;
inline constexpr Sectors kNoSectors = 0, kAllSectors = 0xFF;
static_assert(kPageBytes / kSectorBytes == 8);

// Decides at a crash what becomes of each thing that was not synced. Asked in the order in which things were done, name
// by name and file by file: the same answers leave the same disk. Changes of a file have numbers, the same ones
// whatever was answered before.
class CutFates {
 public:
  virtual ~CutFates() = default;
  // What is asked from here on, up to the next file, is of this one.
  virtual void OfFile(std::string_view /*name*/) {}
  // A page of a write that is under way: whether it has got to where finished writes are. Not `changes`: it would
  // change nothing there.
  virtual bool ArrivesUnderWay(bool changes) = 0;
  virtual Sectors OfPage(uint64_t page, uint64_t change) = 0;
  // Not `changes`: zeros are there anyway, and it is only about what is claimed.
  virtual bool OfHole(uint64_t change, bool changes) = 0;
  // How many of `count` changes of a file's size, from the first on: journals keep their order.
  virtual size_t OfSizes(size_t count) = 0;
  // Which of `count` creations, removals and renames.
  virtual std::vector<bool> OfNames(size_t count) = 0;
};

class RandomFates final : public CutFates {
 public:
  RandomFates(Survival survival, Rng& rng) : survival_(survival), rng_(rng) {}
  bool ArrivesUnderWay(bool changes) override;
  Sectors OfPage(uint64_t page, uint64_t change) override;
  bool OfHole(uint64_t change, bool changes) override;
  size_t OfSizes(size_t count) override;
  std::vector<bool> OfNames(size_t count) override;

 private:
  const Survival survival_;
  Rng& rng_;
};

class SimContent {
 public:
  uint64_t size_bytes() const { return size_bytes_; }
  // Up to here there are pages: claimed, or holes.
  uint64_t end_bytes() const { return base::RoundUp(size_bytes_, kPageBytes); }
  uint64_t claimed_bytes() const { return end_bytes() - holes_.size() * kPageBytes; }
  // What claiming, or writing, all of [from, to) takes of the disk.
  uint64_t UnclaimedBytes(uint64_t from, uint64_t to) const;

  void Read(uint64_t offset, base::MutableBytes out) const;
  // As Read(), but pages that `rng` chooses, one at least where there is any, show what they held before: what a device
  // or one half of a mirror has that missed a write. How many of them differ from what Read() gives.
  uint64_t ReadStale(uint64_t offset, base::MutableBytes out, Rng& rng) const;
  // Whether writing this page would change what is there.
  bool Differs(uint64_t page, base::Bytes data) const;
  // Extends the file when `data` reaches past its end. Offset and size are multiples of a page.
  void Write(uint64_t offset, base::Bytes data);
  void Resize(uint64_t size_bytes);
  // To `size_bytes` if it is smaller. What lies between its end and `from` is a hole then.
  void Grow(uint64_t from, uint64_t size_bytes);
  void Punch(uint64_t offset, uint64_t size_bytes);
  // Fills the holes in [from, to).
  void FillHoles(uint64_t from, uint64_t to);

  // A sync covers what was changed before it began.
  uint64_t ChangesSoFar() const { return next_change_; }
  void MakeDurable(uint64_t changes_before);
  // What a failed fsync does on Linux: the pages count as clean, so no later sync writes them, while reads still see
  // them. Once the page cache has evicted them, reads see what was there before. How many pages those are.
  uint64_t ForgetUnsynced(Rng& rng, bool evicted);

  // The device has refused what the page cache took: whoever syncs next is told.
  void FailNextSync() { sync_fails_ = true; }
  bool TakeSyncFailure() { return std::exchange(sync_fails_, false); }

  void PowerCut(CutFates& fates);
  // The kernel writes a mapping's dirty pages back when it likes.
  void WriteBackMapping(Rng& rng);

  // From now on the content is this memory, shared by all who map the file.
  std::shared_ptr<base::AlignedBuffer> Map();
  bool is_mapped() const { return mapping_ != nullptr; }
  // Whoever has mapped it goes on writing into memory that nobody sees; the file keeps a copy as of now.
  void DetachMapping();
  // A content like this one, as of now, that no process maps.
  std::shared_ptr<SimContent> Clone() const;

  void FlipBits(uint64_t offset, std::byte mask);
  // Of size and bytes, as programs see them. Nobody maps the file.
  uint64_t Hash() const;

 private:
  enum class ChangeKind { kWrite, kResize, kPunch };
  struct Change {
    uint64_t number;
    ChangeKind kind;
    uint64_t page_or_size;
    PageRef content;
  };
  using Holes = std::set<uint64_t>;  // by page number, below the end

  static uint64_t HashOf(const Page& page);
  static PageRef Find(const Pages& pages, uint64_t page);
  PageRef Current(uint64_t page) const;
  static void Cut(Pages& pages, Holes& holes, uint64_t size_bytes);
  void ChangePage(ChangeKind kind, uint64_t page, PageRef content);
  // Also remembers what the page held before.
  void SetDurable(uint64_t page, PageRef content);
  PageRef Older(uint64_t page) const;
  // What the mapping holds becomes ordinary unsynced writes.
  void UnmapIntoUnsynced();

  Pages current_, durable_;
  Pages older_;  // what was durable before
  Holes holes_, durable_holes_;
  uint64_t size_bytes_ = 0, durable_size_bytes_ = 0;
  std::vector<Change> unsynced_;  // in the order they were made
  uint64_t next_change_ = 0;
  bool sync_fails_ = false;
  std::shared_ptr<base::AlignedBuffer> mapping_;  // instead of current_
};

// Names and what they stand for. Folders are one level deep: "" and those made in it.
class SimFolders {
 public:
  using Entries = std::map<std::string, std::shared_ptr<SimContent>, std::less<>>;

  std::shared_ptr<SimContent> Find(std::string_view name) const;
  bool HasFolder(std::string_view folder) const { return folder.empty() || current_folders_.contains(folder); }
  std::vector<std::string> List(std::string_view folder) const;
  uint64_t Links(const SimContent* content) const;
  uint64_t ClaimedBytes() const;
  const Entries& entries() const { return current_; }

  void Add(std::string_view name, std::shared_ptr<SimContent> content);
  void Remove(std::string_view name);
  void Rename(std::string_view from, std::string_view to);
  void AddFolder(std::string_view name);
  // A second name for what `from` holds, and the folder it is in. Both are durable at once.
  void Link(std::string_view from, std::string_view to);

  void MakeDurable(std::string_view folder);
  // Names first, then the content of every file that is left.
  void PowerCut(CutFates& fates);
  // Folders like these, with contents of their own. `clones` gets the clone of each content.
  SimFolders Clone(std::map<const SimContent*, std::shared_ptr<SimContent>>& clones) const;

  static std::string_view FolderOf(std::string_view name);

 private:
  struct Change {
    enum Kind { kAdd, kRemove, kRename, kAddFolder } kind;
    std::string name, from;
    std::shared_ptr<SimContent> content;
  };
  static void Apply(const Change& change, Entries& entries, std::set<std::string, std::less<>>& folders);
  void Make(Change change);

  Entries current_, durable_;
  std::set<std::string, std::less<>> current_folders_, durable_folders_;
  std::vector<Change> unsynced_;
};

}  // namespace firn::test
