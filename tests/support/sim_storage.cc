#include "support/sim_storage.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/hash.h"

namespace firn::test {
namespace {

const Page kZeros = {};

const Page& Content(const PageRef& page) { return page ? *page : kZeros; }

PageRef CopyPage(const std::byte* from) {
  if (std::memcmp(from, kZeros.data(), kPageBytes) == 0) return nullptr;
  auto page = std::make_shared<Page>();
  std::memcpy(page->data(), from, kPageBytes);
  return page;
}

// Of a mapping, which threads of a process that is dying may still be writing to: as when the kernel looks, each word
// is the old or the new one. ThreadSanitizer is not to call that a race of the engine's.
__attribute__((no_sanitize("thread"))) PageRef CopyMappedPage(const std::byte* from) {
  Page page;
  for (size_t at = 0; at < kPageBytes; at += sizeof(uint64_t)) {
    const uint64_t word = *reinterpret_cast<const volatile uint64_t*>(from + at);
    std::memcpy(page.data() + at, &word, sizeof(word));
  }
  return CopyPage(page.data());
}

// `later` written over `earlier`, of which only some sectors arrived.
PageRef Overwritten(const PageRef& earlier, const PageRef& later, Sectors arrived) {
  if (arrived == kAllSectors) return later;
  if (arrived == kNoSectors) return earlier;
  Page torn = Content(earlier);
  for (uint64_t sector = 0; sector < kPageBytes / kSectorBytes; ++sector) {
    if ((arrived >> sector & 1) == 0) continue;
    const uint64_t at = sector * kSectorBytes;
    std::memcpy(torn.data() + at, Content(later).data() + at, kSectorBytes);
  }
  return CopyPage(torn.data());
}

}  // namespace

bool RandomFates::ArrivesUnderWay(bool /*changes*/) {
  return survival_ == Survival::kEverything || (survival_ != Survival::kNothing && rng_.OneIn(2));
}

Sectors RandomFates::OfPage(uint64_t /*page*/, uint64_t /*change*/) {
  switch (survival_) {
    case Survival::kNothing:
      return kNoSectors;
    case Survival::kEverything:
      return kAllSectors;
    case Survival::kPages:
      return rng_.OneIn(2) ? kNoSectors : kAllSectors;
    case Survival::kSectors:
      return rng_.OneIn(3) ? static_cast<Sectors>(rng_.Next()) : (rng_.OneIn(2) ? kNoSectors : kAllSectors);
  }
  return kNoSectors;
}

bool RandomFates::OfHole(uint64_t /*change*/, bool /*changes*/) {
  return survival_ == Survival::kEverything || (survival_ != Survival::kNothing && rng_.OneIn(2));
}

size_t RandomFates::OfSizes(size_t count) {
  if (survival_ == Survival::kNothing) return 0;
  return survival_ == Survival::kEverything ? count : rng_.Between(0, count);
}

std::vector<bool> RandomFates::OfNames(size_t count) {
  std::vector<bool> survives(count, false);
  // ext4 keeps a prefix; other file systems may keep any of them.
  const bool any_of_them = survival_ == Survival::kSectors && rng_.OneIn(2);
  const size_t prefix = any_of_them ? count : OfSizes(count);
  for (size_t i = 0; i < prefix; ++i) survives[i] = !any_of_them || !rng_.OneIn(2);
  return survives;
}

PageRef SimContent::Find(const Pages& pages, uint64_t page) {
  const auto found = pages.find(page);
  return found == pages.end() ? nullptr : found->second;
}

PageRef SimContent::Current(uint64_t page) const {
  if (mapping_ && (page + 1) * kPageBytes <= mapping_->size())
    return CopyMappedPage(mapping_->data() + page * kPageBytes);
  return Find(current_, page);
}

void SimContent::Read(uint64_t offset, base::MutableBytes out) const {
  if (mapping_) {
    FIRN_CHECK(offset + out.size() <= mapping_->size());
    std::memcpy(out.data(), mapping_->data() + offset, out.size());
    return;
  }
  for (uint64_t done = 0; done < out.size(); done += kPageBytes) {
    const PageRef page = Find(current_, (offset + done) / kPageBytes);
    std::memcpy(out.data() + done, Content(page).data(), std::min<uint64_t>(kPageBytes, out.size() - done));
  }
}

PageRef SimContent::Older(uint64_t page) const {
  const PageRef now = Find(current_, page), durable = Find(durable_, page);
  return Content(now) != Content(durable) ? durable : Find(older_, page);
}

uint64_t SimContent::ReadStale(uint64_t offset, base::MutableBytes out, Rng& rng) const {
  Read(offset, out);
  if (mapping_) return 0;
  uint64_t stale = 0;
  for (uint64_t done = 0; done < out.size(); done += kPageBytes) {
    const uint64_t page = (offset + done) / kPageBytes;
    const PageRef older = Older(page);
    if (Content(older) == Content(Find(current_, page)) || (stale > 0 && rng.OneIn(2))) continue;
    std::memcpy(out.data() + done, Content(older).data(), std::min<uint64_t>(kPageBytes, out.size() - done));
    ++stale;
  }
  return stale;
}

bool SimContent::Differs(uint64_t page, base::Bytes data) const {
  if (holes_.contains(page) || page * kPageBytes + data.size() > size_bytes_) return true;
  return std::memcmp(Content(Current(page)).data(), data.data(), std::min<size_t>(kPageBytes, data.size())) != 0;
}

void SimContent::Write(uint64_t offset, base::Bytes data) {
  Grow(offset, offset + data.size());
  for (uint64_t done = 0; done < data.size(); done += kPageBytes) {
    const uint64_t page = (offset + done) / kPageBytes;
    if (mapping_) {
      std::memcpy(mapping_->data() + page * kPageBytes, data.data() + done, kPageBytes);
      continue;
    }
    ChangePage(ChangeKind::kWrite, page, CopyPage(data.data() + done));
  }
}

void SimContent::ChangePage(ChangeKind kind, uint64_t page, PageRef content) {
  if (kind == ChangeKind::kPunch) {
    holes_.insert(page);
  } else {
    holes_.erase(page);
  }
  current_[page] = content;
  unsynced_.push_back({next_change_++, kind, page, std::move(content)});
}

uint64_t SimContent::UnclaimedBytes(uint64_t from, uint64_t to) const {
  const uint64_t end = base::RoundUp(to, kPageBytes);
  const uint64_t beyond = end - std::min(end, std::max(base::RoundDown(from, kPageBytes), end_bytes()));
  const auto holes = std::distance(holes_.lower_bound(from / kPageBytes),
                                   holes_.lower_bound(std::max(from, base::RoundUp(to, kPageBytes)) / kPageBytes));
  return beyond + static_cast<uint64_t>(holes) * kPageBytes;
}

void SimContent::Punch(uint64_t offset, uint64_t size_bytes) {
  FIRN_CHECK(!mapping_);
  const uint64_t end = std::min(offset + size_bytes, end_bytes());
  for (uint64_t at = offset; at < end; at += kPageBytes) ChangePage(ChangeKind::kPunch, at / kPageBytes, nullptr);
}

void SimContent::FillHoles(uint64_t from, uint64_t to) {
  for (auto hole = holes_.lower_bound(from / kPageBytes); hole != holes_.end() && *hole * kPageBytes < to;) {
    const uint64_t page = *hole++;
    ChangePage(ChangeKind::kWrite, page, nullptr);
  }
}

void SimContent::Grow(uint64_t from, uint64_t size_bytes) {
  if (size_bytes <= size_bytes_) return;
  for (uint64_t page = end_bytes() / kPageBytes; page < from / kPageBytes; ++page) {
    holes_.insert(page);
    durable_holes_.insert(page);  // nothing can claim it but a later change
  }
  Resize(size_bytes);
}

void SimContent::Cut(Pages& pages, Holes& holes, uint64_t size_bytes) {
  const uint64_t whole = size_bytes / kPageBytes, rest = size_bytes % kPageBytes;
  holes.erase(holes.lower_bound(whole + (rest != 0)), holes.end());
  pages.erase(pages.lower_bound(whole + (rest != 0)), pages.end());
  if (const auto last = pages.find(whole); rest != 0 && last != pages.end() && last->second) {
    Page page = *last->second;
    std::fill(page.begin() + static_cast<std::ptrdiff_t>(rest), page.end(), std::byte{0});
    last->second = CopyPage(page.data());
  }
}

void SimContent::Resize(uint64_t size_bytes) {
  FIRN_CHECK(!mapping_);
  if (size_bytes < size_bytes_) Cut(current_, holes_, size_bytes);
  size_bytes_ = size_bytes;
  unsynced_.push_back({next_change_++, ChangeKind::kResize, size_bytes, nullptr});
}

void SimContent::SetDurable(uint64_t page, PageRef content) {
  PageRef& durable = durable_[page];
  if (durable != content) older_[page] = std::exchange(durable, std::move(content));
}

void SimContent::MakeDurable(uint64_t changes_before) {
  auto change = unsynced_.begin();
  for (; change != unsynced_.end() && change->number < changes_before; ++change) {
    if (change->kind == ChangeKind::kResize) {
      if (change->page_or_size < durable_size_bytes_) Cut(durable_, durable_holes_, change->page_or_size);
      durable_size_bytes_ = change->page_or_size;
      continue;
    }
    SetDurable(change->page_or_size, std::move(change->content));
    if (change->kind == ChangeKind::kPunch) {
      durable_holes_.insert(change->page_or_size);
    } else {
      durable_holes_.erase(change->page_or_size);
    }
  }
  unsynced_.erase(unsynced_.begin(), change);
  if (!mapping_) return;
  for (uint64_t page = 0; page < mapping_->size() / kPageBytes; ++page) {
    if (PageRef content = Current(page))
      durable_[page] = std::move(content);
    else
      durable_.erase(page);
  }
}

uint64_t SimContent::ForgetUnsynced(Rng& rng, bool evicted) {
  std::set<uint64_t> forgotten;
  std::erase_if(unsynced_, [&](const Change& change) {
    if (change.kind != ChangeKind::kWrite || rng.OneIn(4)) return false;
    forgotten.insert(change.page_or_size);
    return true;
  });
  if (!evicted || mapping_) return 0;
  for (const Change& change : unsynced_) {
    if (change.kind != ChangeKind::kResize) forgotten.erase(change.page_or_size);  // written or punched again
  }
  uint64_t pages = 0;
  for (const uint64_t page : forgotten) {
    PageRef durable = Find(durable_, page);
    pages += Content(durable) != Content(std::exchange(current_[page], durable));
  }
  return pages;
}

void SimContent::UnmapIntoUnsynced() {
  for (uint64_t page = 0; page < mapping_->size() / kPageBytes; ++page) {
    PageRef content = Current(page);
    if (content != nullptr) {
      current_[page] = content;
    } else {
      current_.erase(page);
    }
    if (std::memcmp(Content(content).data(), Content(Find(durable_, page)).data(), kPageBytes) == 0) continue;
    unsynced_.push_back({next_change_++, ChangeKind::kWrite, page, std::move(content)});
  }
  mapping_ = nullptr;
}

void SimContent::PowerCut(CutFates& fates) {
  sync_fails_ = false;
  if (mapping_) UnmapIntoUnsynced();
  const auto resizes = static_cast<size_t>(
      std::count_if(unsynced_.begin(), unsynced_.end(), [](const Change& c) { return c.kind == ChangeKind::kResize; }));
  size_t resizes_left = resizes == 0 ? 0 : fates.OfSizes(resizes);
  for (const Change& change : unsynced_) {
    if (change.kind == ChangeKind::kResize) {
      if (resizes_left == 0) continue;
      --resizes_left;
      if (change.page_or_size < durable_size_bytes_) Cut(durable_, durable_holes_, change.page_or_size);
      durable_size_bytes_ = change.page_or_size;
      continue;
    }
    if (change.page_or_size * kPageBytes >= durable_size_bytes_) continue;
    PageRef& page = durable_[change.page_or_size];
    if (change.kind == ChangeKind::kWrite) {
      // Of what changes nothing nobody could tell whether it arrived.
      if (page != change.content && Content(page) != Content(change.content)) {
        PageRef left = Overwritten(page, change.content, fates.OfPage(change.page_or_size, change.number));
        if (left != page) older_[change.page_or_size] = std::exchange(page, std::move(left));
      }
      durable_holes_.erase(change.page_or_size);  // even a write that got lost may have claimed its place
    } else if (fates.OfHole(change.number, page != nullptr)) {
      page = nullptr;
      durable_holes_.insert(change.page_or_size);
    }
  }
  unsynced_.clear();
  durable_holes_.erase(durable_holes_.lower_bound(base::RoundUp(durable_size_bytes_, kPageBytes) / kPageBytes),
                       durable_holes_.end());
  holes_ = durable_holes_;
  current_ = durable_;
  size_bytes_ = durable_size_bytes_;
}

void SimContent::WriteBackMapping(Rng& rng) {
  if (!mapping_) return;
  for (uint64_t page = 0; page < mapping_->size() / kPageBytes; ++page) {
    const PageRef now = CopyMappedPage(mapping_->data() + page * kPageBytes);
    PageRef& durable = durable_[page];
    if (Content(now) == Content(durable)) continue;
    if (rng.OneIn(2)) durable = now;
  }
}

std::shared_ptr<base::AlignedBuffer> SimContent::Map() {
  if (!mapping_) {
    auto memory = std::make_shared<base::AlignedBuffer>(size_bytes_);
    Read(0, memory->bytes());
    mapping_ = std::move(memory);
  }
  return mapping_;
}

void SimContent::DetachMapping() {
  if (!mapping_) return;
  auto copy = std::make_shared<base::AlignedBuffer>(mapping_->size());
  std::memcpy(copy->data(), mapping_->data(), mapping_->size());
  mapping_ = std::move(copy);
}

std::shared_ptr<SimContent> SimContent::Clone() const {
  auto clone = std::make_shared<SimContent>(*this);
  if (clone->mapping_) clone->UnmapIntoUnsynced();
  return clone;
}

// Machines that begin with the same moment share their pages: each is hashed once.
uint64_t SimContent::HashOf(const Page& page) {
  if (page.hash == 0) page.hash = base::Hash64(page);
  return page.hash;
}

uint64_t SimContent::Hash() const {
  FIRN_CHECK(!mapping_);
  uint64_t hash = base::Hash64({}, size_bytes_);
  for (const auto& [number, page] : current_) {
    if (page) hash = base::Hash64({}, (hash ^ HashOf(*page)) + number);
  }
  return hash;
}

void SimContent::FlipBits(uint64_t offset, std::byte mask) {
  const uint64_t page = offset / kPageBytes;
  for (Pages* pages : {&current_, &durable_}) {
    Page content = Content(Find(*pages, page));
    content[offset % kPageBytes] ^= mask;
    (*pages)[page] = CopyPage(content.data());
  }
  if (mapping_) mapping_->data()[offset] ^= mask;
}

std::string_view SimFolders::FolderOf(std::string_view name) {
  const size_t slash = name.rfind('/');
  return slash == std::string_view::npos ? std::string_view() : name.substr(0, slash);
}

std::shared_ptr<SimContent> SimFolders::Find(std::string_view name) const {
  const auto found = current_.find(name);
  return found == current_.end() ? nullptr : found->second;
}

std::vector<std::string> SimFolders::List(std::string_view folder) const {
  std::vector<std::string> names;
  for (const auto& [name, content] : current_) {
    if (FolderOf(name) == folder) names.push_back(folder.empty() ? name : name.substr(folder.size() + 1));
  }
  return names;
}

uint64_t SimFolders::Links(const SimContent* content) const {
  return static_cast<uint64_t>(std::count_if(current_.begin(), current_.end(),
                                             [content](const auto& entry) { return entry.second.get() == content; }));
}

uint64_t SimFolders::ClaimedBytes() const {
  uint64_t bytes = 0;
  std::set<const SimContent*> counted;  // whatever number of names it has
  for (const auto& [name, content] : current_) {
    if (counted.insert(content.get()).second) bytes += content->claimed_bytes();
  }
  return bytes;
}

void SimFolders::Apply(const Change& change, Entries& entries, std::set<std::string, std::less<>>& folders) {
  switch (change.kind) {
    case Change::kAdd:
      entries[change.name] = change.content;
      break;
    case Change::kRemove:
      entries.erase(change.name);
      break;
    case Change::kRename:
      entries.erase(change.from);
      entries[change.name] = change.content;
      break;
    case Change::kAddFolder:
      folders.insert(change.name);
      break;
  }
}

void SimFolders::Make(Change change) {
  Apply(change, current_, current_folders_);
  unsynced_.push_back(std::move(change));
}

void SimFolders::Add(std::string_view name, std::shared_ptr<SimContent> content) {
  Make({Change::kAdd, std::string(name), "", std::move(content)});
}

void SimFolders::Remove(std::string_view name) { Make({Change::kRemove, std::string(name), "", nullptr}); }

void SimFolders::Rename(std::string_view from, std::string_view to) {
  if (from == to) return;
  Make({Change::kRename, std::string(to), std::string(from), Find(from)});
}

void SimFolders::AddFolder(std::string_view name) {
  if (!HasFolder(name)) Make({Change::kAddFolder, std::string(name), "", nullptr});
}

void SimFolders::Link(std::string_view from, std::string_view to) {
  const std::string_view folder = FolderOf(to);
  if (!folder.empty()) {
    current_folders_.emplace(folder);
    durable_folders_.emplace(folder);
  }
  const std::shared_ptr<SimContent> content = Find(from);
  current_[std::string(to)] = content;
  durable_[std::string(to)] = content;
}

void SimFolders::MakeDurable(std::string_view folder) {
  std::erase_if(unsynced_, [this, folder](const Change& change) {
    if (FolderOf(change.name) != folder) return false;
    Apply(change, durable_, durable_folders_);
    return true;
  });
}

void SimFolders::PowerCut(CutFates& fates) {
  const std::vector<bool> survives = unsynced_.empty() ? std::vector<bool>() : fates.OfNames(unsynced_.size());
  for (size_t i = 0; i < unsynced_.size(); ++i) {
    if (survives[i]) Apply(unsynced_[i], durable_, durable_folders_);
  }
  unsynced_.clear();
  std::erase_if(durable_, [this](const auto& entry) {
    const std::string_view folder = FolderOf(entry.first);
    return !folder.empty() && !durable_folders_.contains(folder);
  });
  current_ = durable_;
  current_folders_ = durable_folders_;
  std::set<SimContent*> cut;
  for (const auto& [name, content] : current_) {
    if (!cut.insert(content.get()).second) continue;
    fates.OfFile(name);
    content->PowerCut(fates);
  }
}

SimFolders SimFolders::Clone(std::map<const SimContent*, std::shared_ptr<SimContent>>& clones) const {
  const auto clone_of = [&clones](const std::shared_ptr<SimContent>& content) -> std::shared_ptr<SimContent> {
    if (content == nullptr) return nullptr;
    std::shared_ptr<SimContent>& clone = clones[content.get()];
    if (clone == nullptr) clone = content->Clone();
    return clone;
  };
  SimFolders copy(*this);
  for (Entries* entries : {&copy.current_, &copy.durable_}) {
    for (auto& [name, content] : *entries) content = clone_of(content);
  }
  for (Change& change : copy.unsynced_) change.content = clone_of(change.content);
  return copy;
}

}  // namespace firn::test
