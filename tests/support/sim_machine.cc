// The machine under the simulated disks: crashes, faults, time.
#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/check.h"
#include "base/hash.h"
#include "base/sync.h"
#include "support/sim_disk.h"

namespace firn::test {

SimMachine::SimMachine(uint64_t seed) : rng_(seed) {}
SimMachine::~SimMachine() = default;

SimMachine::SimMachine(uint64_t seed, const DiskMoment& moment) : rng_(seed) {
  std::lock_guard lock(mutex_);
  std::map<const SimContent*, std::shared_ptr<SimContent>> clones;
  folders_ = moment.folders.Clone(clones);
  for (DiskMoment::WriteUnderWay write : moment.writes_under_way) {
    const auto clone = clones.find(write.content.get());
    if (clone == clones.end()) continue;  // its file has no name any more
    write.content = clone->second;
    begun_with_.push_back(std::move(write));
  }
}

DiskMoment SimMachine::MomentLocked() const {
  DiskMoment moment;
  std::map<const SimContent*, std::shared_ptr<SimContent>> clones;
  moment.folders = folders_.Clone(clones);
  for (const WriteUnderWay* write : writes_under_way_) {
    const auto clone = clones.find(write->content.get());
    if (clone == clones.end()) continue;
    moment.writes_under_way.push_back({clone->second, write->offset, {write->data.begin(), write->data.end()}});
  }
  return moment;
}

void SimMachine::NoteMoment() {
  std::lock_guard lock(mutex_);
  if (watch_) watch_(MomentLocked());
}

void SimMachine::TakeTime() {
  base::Scheduler* scheduler = base::Scheduler::Current();
  if (scheduler == nullptr) return;
  const uint64_t nanos_max = latency_nanos_max_;
  uint64_t nanos = 0;
  if (nanos_max > 0) {
    std::lock_guard lock(mutex_);
    nanos = rng_.Below(nanos_max);
  }
  if (nanos == 0) {
    scheduler->Yield();
  } else {
    scheduler->Wait(&nanos, scheduler->NowNanos() + nanos);
  }
}

SimMachine::Outcome SimMachine::Begin(const Process& process, Operation operation, std::string_view what,
                                      std::string_view name, uint64_t offset, uint64_t size_bytes) {
  Outcome outcome;
  outcome.dead = !process.alive;
  if (outcome.dead) return outcome;
  if (watch_ && operation != kReadOperation) watch_(MomentLocked());
  const uint64_t number = operations_++;
  if (operation & (kWriteOperation | kAllocateOperation)) ++writes_;
  outcome = Decide(operation, number);
  if (trace_) {
    std::string line = std::to_string(number) + " " + std::string(what) + " " + std::string(name) + " at " +
                       std::to_string(offset) + ", " + std::to_string(size_bytes) + " bytes";
    if (base::Scheduler* scheduler = base::Scheduler::Current()) {
      line += ", at " + std::to_string(scheduler->NowNanos() / 1'000) + " us";
    }
    if (outcome.dead) line += ": crash";
    if (outcome.error_number != 0) line += ": fails with " + std::to_string(outcome.error_number);
    if (outcome.silent) line += ": goes wrong in silence";
    trace_(line);
  }
  return outcome;
}

SimMachine::Outcome SimMachine::Decide(Operation operation, uint64_t number) {
  Outcome outcome;
  if (crash_at_ == number) {
    crash_at_.reset();
    RandomFates fates(planned_crash_.survival, rng_);
    CrashLocked(planned_crash_.kind, fates);
    outcome.dead = true;
    return outcome;
  }
  for (auto fault = faults_.begin(); fault != faults_.end(); ++fault) {
    if ((fault->operations & operation) == 0) continue;
    if (fault->after > 0) {
      --fault->after;
      continue;
    }
    ++faults_hit_;
    if (fault->kind == Fault::Kind::kError) {
      const int usual = operation == kOpenOperation ? EMFILE : operation == kAllocateOperation ? ENOSPC : EIO;
      outcome.error_number = fault->error_number != 0 ? fault->error_number : usual;
    } else if (operation == (fault->kind == Fault::Kind::kStaleRead ? kReadOperation : kWriteOperation)) {
      outcome.silent = fault->kind;
    }
    if (!fault->lasting) faults_.erase(fault);
    break;
  }
  return outcome;
}

// A write that was meant for one file lands elsewhere in it, or, on the medium already, in another. What is mapped is
// not hit: its page would not be read again.
void SimMachine::Misdirect(const std::shared_ptr<SimContent>& meant, base::Bytes data) {
  const uint64_t needed_pages = data.size() / kPageBytes;
  std::vector<std::pair<std::string, std::shared_ptr<SimContent>>> others;
  std::string own_name;
  for (const auto& [name, content] : folders_.entries()) {
    if (content == meant) own_name = name;
    if (content != meant && !content->is_mapped() && content->end_bytes() / kPageBytes >= needed_pages) {
      others.emplace_back(name, content);
    }
  }
  const bool into_another = !others.empty() && rng_.OneIn(2);
  const auto& [name, content] = into_another ? others[rng_.Below(others.size())] : std::pair(own_name, meant);
  const uint64_t pages = content->end_bytes() / kPageBytes;
  if (pages < needed_pages) return;
  const uint64_t offset = rng_.Between(0, pages - needed_pages) * kPageBytes;
  content->Write(offset, data);
  if (into_another) content->MakeDurable(content->ChangesSoFar());
  if (trace_) trace_("  misdirected to " + name + " at " + std::to_string(offset));
}

void SimMachine::Crash(const test::Crash& crash) {
  std::lock_guard lock(mutex_);
  RandomFates fates(crash.survival, rng_);
  CrashLocked(crash.kind, fates);
}

void SimMachine::Crash(CrashKind kind, CutFates& fates) {
  std::lock_guard lock(mutex_);
  CrashLocked(kind, fates);
}

void SimMachine::CrashLocked(CrashKind kind, CutFates& fates) {
  ++crashes_;
  if (base::Scheduler* scheduler = base::Scheduler::Current()) crashed_at_nanos_ = scheduler->NowNanos();
  for (const std::shared_ptr<Process>& process : processes_) process->alive = false;
  processes_.clear();
  const auto arrive = [&fates](const std::shared_ptr<SimContent>& content, uint64_t offset, base::Bytes data) {
    for (uint64_t at = 0; at < data.size(); at += kPageBytes) {
      const base::Bytes page = data.subspan(at, kPageBytes);
      const bool fits = offset + at < content->end_bytes();
      const bool changes = fits && content->Differs((offset + at) / kPageBytes, page);
      if (fates.ArrivesUnderWay(changes) && fits) content->Write(offset + at, page);
    }
  };
  for (const DiskMoment::WriteUnderWay& write : begun_with_) arrive(write.content, write.offset, write.data);
  begun_with_.clear();
  for (const WriteUnderWay* write : writes_under_way_) arrive(write->content, write->offset, write->data);
  writes_under_way_.clear();
  if (kind == CrashKind::kPowerCut) {
    folders_.PowerCut(fates);
  } else {
    for (const auto& [name, content] : folders_.entries()) content->DetachMapping();
  }
}

void SimMachine::CrashAfter(uint64_t count, const test::Crash& crash) {
  std::lock_guard lock(mutex_);
  crash_at_ = operations_ + count;
  planned_crash_ = crash;
}

void SimMachine::Inject(const Fault& fault) {
  std::lock_guard lock(mutex_);
  faults_.push_back(fault);
}

void SimMachine::ClearFaults() {
  std::lock_guard lock(mutex_);
  faults_.clear();
  crash_at_.reset();
}

bool SimMachine::HasRoom(uint64_t more_bytes) const {
  return more_bytes == 0 || folders_.ClaimedBytes() + more_bytes <= capacity_bytes_;
}

void SimMachine::FlipBits(std::string_view name, uint64_t offset, std::byte mask) {
  std::lock_guard lock(mutex_);
  const std::shared_ptr<SimContent> content = folders_.Find(name);
  FIRN_CHECK(content != nullptr && offset < content->size_bytes());
  content->FlipBits(offset, mask);
}

void SimMachine::WriteBackMappings() {
  std::lock_guard lock(mutex_);
  for (const auto& [name, content] : folders_.entries()) content->WriteBackMapping(rng_);
}

void SimMachine::DetachMappings() {
  std::lock_guard lock(mutex_);
  detachments_.fetch_add(1);
  for (const auto& [name, content] : folders_.entries()) content->DetachMapping();
}

void SimMachine::Link(std::string_view from, std::string_view to) {
  std::lock_guard lock(mutex_);
  const std::shared_ptr<SimContent> content = folders_.Find(from);
  FIRN_CHECK(content != nullptr && folders_.Find(to) == nullptr);
  content->MakeDurable(content->ChangesSoFar());
  folders_.Link(from, to);
}

uint64_t SimMachine::claimed_bytes() const {
  std::lock_guard lock(mutex_);
  return folders_.ClaimedBytes();
}

std::vector<std::string> SimMachine::FileNames() const {
  std::lock_guard lock(mutex_);
  std::vector<std::string> names;
  for (const auto& [name, content] : folders_.entries()) names.push_back(name);
  return names;
}

uint64_t SimMachine::FileSize(std::string_view name) const {
  std::lock_guard lock(mutex_);
  const std::shared_ptr<SimContent> content = folders_.Find(name);
  FIRN_CHECK(content != nullptr);
  return content->size_bytes();
}

std::string SimMachine::ReadFile(std::string_view name) const {
  std::lock_guard lock(mutex_);
  const std::shared_ptr<SimContent> content = folders_.Find(name);
  FIRN_CHECK(content != nullptr);
  std::string bytes(content->size_bytes(), '\0');
  content->Read(0, std::as_writable_bytes(std::span(bytes.data(), bytes.size())));
  return bytes;
}

uint64_t SimMachine::Hash() const {
  std::lock_guard lock(mutex_);
  uint64_t hash = folders_.ClaimedBytes();
  for (const auto& [name, content] : folders_.entries()) {
    hash = base::Hash64(base::AsBytes(name), hash) ^ content->Hash();
  }
  return hash;
}

int64_t SimClock::WallTimeMs() { return wall_offset_ms_ + static_cast<int64_t>(MonotonicNanos() / 1'000'000); }

uint64_t SimClock::MonotonicNanos() {
  if (base::Scheduler* scheduler = base::Scheduler::Current()) return scheduler->NowNanos();
  return own_nanos_ += 1'000;
}

}  // namespace firn::test
