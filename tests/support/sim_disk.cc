#include "support/sim_disk.h"

#include <cerrno>

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/sync.h"
#include "io/async_reads.h"

namespace firn::test {
namespace {

absl::Status Dead() { return base::Unavailable("the simulated process has died"); }

class SimMemory final : public io::SharedMemory {
 public:
  SimMemory(std::shared_ptr<base::AlignedBuffer> memory, const SimMachine& machine, uint64_t detachments)
      : memory_(std::move(memory)), machine_(machine), detachments_(detachments) {}
  base::MutableBytes bytes() override { return memory_->bytes(); }
  bool locked() const override { return true; }
  bool detached() const override { return machine_.detachments() != detachments_; }

 private:
  const std::shared_ptr<base::AlignedBuffer> memory_;
  const SimMachine& machine_;
  const uint64_t detachments_;
};

}  // namespace

class SimFile final : public io::File {
 public:
  SimFile(std::string name, io::Counters& counters, SimMachine& machine, std::shared_ptr<SimMachine::Process> process,
          std::shared_ptr<SimContent> content, bool writable)
      : File(std::move(name), counters),
        machine_(machine),
        process_(std::move(process)),
        content_(std::move(content)),
        writable_(writable) {}
  ~SimFile() override {
    std::lock_guard lock(machine_.mutex_);
    --process_->open_files;
  }

  uint64_t size_bytes() const override {
    std::lock_guard lock(machine_.mutex_);
    return content_->size_bytes();
  }
  absl::StatusOr<uint64_t> Links() override {
    std::lock_guard lock(machine_.mutex_);
    if (!process_->alive) return Dead();
    return machine_.folders_.Links(content_.get());
  }
  absl::StatusOr<uint64_t> AllocatedBytes() override {
    std::lock_guard lock(machine_.mutex_);
    if (!process_->alive) return Dead();
    return content_->claimed_bytes();
  }

 protected:
  absl::Status DoRead(uint64_t offset, base::MutableBytes out) override;
  absl::Status DoWrite(uint64_t offset, base::Bytes data, io::Flush flush) override;
  absl::Status DoSync() override;
  absl::Status DoAllocate(uint64_t size_bytes, uint64_t from_bytes) override;
  absl::Status DoTruncate(uint64_t size_bytes) override;
  absl::Status DoPunchHole(uint64_t offset, uint64_t size_bytes) override;

 private:
  absl::Status Error(int error_number, std::string_view operation, uint64_t offset) const {
    return base::ErrnoStatus(error_number, std::string(operation) + " " + name() + " at " + std::to_string(offset));
  }
  absl::Status WriteAlone(uint64_t offset, base::Bytes data, io::Flush flush);
  absl::Status SyncAlone();

  SimMachine& machine_;
  const std::shared_ptr<SimMachine::Process> process_;
  const std::shared_ptr<SimContent> content_;
  const bool writable_;
};

absl::Status SimFile::DoRead(uint64_t offset, base::MutableBytes out) {
  machine_.TakeTime();
  std::lock_guard lock(machine_.mutex_);
  const SimMachine::Outcome outcome = machine_.Begin(*process_, kReadOperation, "read", name(), offset, out.size());
  if (outcome.dead) return Dead();
  if (outcome.error_number != 0) return Error(outcome.error_number, "read", offset);
  if (offset + out.size() > base::RoundUp(content_->size_bytes(), kAlignmentBytes)) {
    return base::MakeStatus(absl::StatusCode::kOutOfRange, "read " + name() + " past its end");
  }
  if (outcome.silent == Fault::Kind::kStaleRead) {
    machine_.stale_pages_read_ += content_->ReadStale(offset, out, machine_.rng_);
  } else {
    content_->Read(offset, out);
  }
  return absl::OkStatus();
}

absl::Status SimFile::WriteAlone(uint64_t offset, base::Bytes data, io::Flush flush) {
  if (!writable_) return Error(EBADF, "write", offset);
  base::SchedulePoint();
  SimMachine::WriteUnderWay under_way{content_, offset, data};
  {
    std::lock_guard lock(machine_.mutex_);
    if (process_->alive) machine_.writes_under_way_.push_back(&under_way);
  }
  machine_.TakeTime();
  std::lock_guard lock(machine_.mutex_);
  const SimMachine::Outcome outcome = machine_.Begin(*process_, kWriteOperation, "write", name(), offset, data.size());
  std::erase(machine_.writes_under_way_, &under_way);
  if (outcome.dead) return Dead();
  const uint64_t more_bytes = content_->UnclaimedBytes(offset, offset + data.size());
  if (outcome.error_number == 0 && !machine_.HasRoom(more_bytes)) return Error(ENOSPC, "write", offset);
  if (outcome.error_number != 0 && flush == io::Flush::kBehind && machine_.rng_.Chance(0.5)) {
    content_->Write(offset, data);
    content_->FailNextSync();
    return absl::OkStatus();
  }
  if (outcome.error_number != 0) {
    const uint64_t arrived = machine_.rng_.Between(0, data.size() / kPageBytes) * kPageBytes;
    if (arrived > 0) content_->Write(offset, data.first(arrived));
    return Error(outcome.error_number, "write", offset);
  }
  if (outcome.silent == Fault::Kind::kLoseWrite) return absl::OkStatus();
  if (outcome.silent == Fault::Kind::kMisdirect) {
    machine_.Misdirect(content_, data);
    return absl::OkStatus();
  }
  content_->Write(offset, data);
  return absl::OkStatus();
}

absl::Status SimFile::SyncAlone() {
  uint64_t changes;
  {
    std::lock_guard lock(machine_.mutex_);
    changes = content_->ChangesSoFar();
  }
  machine_.TakeTime();
  std::lock_guard lock(machine_.mutex_);
  const SimMachine::Outcome outcome = machine_.Begin(*process_, kSyncOperation, "sync", name());
  if (outcome.dead) return Dead();
  const bool write_back_failed = content_->TakeSyncFailure();
  if (write_back_failed) ++machine_.faults_hit_;
  if (outcome.error_number != 0 || write_back_failed) {
    machine_.pages_evicted_ += content_->ForgetUnsynced(machine_.rng_, machine_.failed_sync_evicts_);
    return Error(write_back_failed ? EIO : outcome.error_number, "fdatasync", 0);
  }
  content_->MakeDurable(changes);
  return absl::OkStatus();
}

absl::Status SimFile::DoWrite(uint64_t offset, base::Bytes data, io::Flush flush) {
  FIRN_RETURN_IF_ERROR(WriteAlone(offset, data, flush));
  return flush == io::Flush::kData ? SyncAlone() : absl::OkStatus();
}

absl::Status SimFile::DoSync() {
  base::SchedulePoint();
  return SyncAlone();
}

absl::Status SimFile::DoAllocate(uint64_t size_bytes, uint64_t from_bytes) {
  if (!writable_) return Error(EBADF, "fallocate", size_bytes);
  base::SchedulePoint();
  std::lock_guard lock(machine_.mutex_);
  const SimMachine::Outcome outcome =
      machine_.Begin(*process_, kAllocateOperation, "allocate", name(), from_bytes, size_bytes);
  if (outcome.dead) return Dead();
  if (outcome.error_number != 0) return Error(outcome.error_number, "fallocate", size_bytes);
  if (!machine_.HasRoom(content_->UnclaimedBytes(from_bytes, size_bytes))) {
    return Error(ENOSPC, "fallocate", size_bytes);
  }
  content_->FillHoles(from_bytes, size_bytes);
  content_->Grow(from_bytes, size_bytes);
  return absl::OkStatus();
}

absl::Status SimFile::DoTruncate(uint64_t size_bytes) {
  if (!writable_) return Error(EBADF, "truncate", size_bytes);
  base::SchedulePoint();
  std::lock_guard lock(machine_.mutex_);
  const SimMachine::Outcome outcome = machine_.Begin(*process_, kWriteOperation, "truncate", name(), size_bytes);
  if (outcome.dead) return Dead();
  if (outcome.error_number != 0) return Error(outcome.error_number, "truncate", size_bytes);
  if (outcome.silent == Fault::Kind::kLoseWrite) return absl::OkStatus();
  content_->Resize(std::min(size_bytes, content_->size_bytes()));
  return absl::OkStatus();
}

absl::Status SimFile::DoPunchHole(uint64_t offset, uint64_t size_bytes) {
  if (!writable_) return Error(EBADF, "punch", offset);
  base::SchedulePoint();
  std::lock_guard lock(machine_.mutex_);
  const SimMachine::Outcome outcome = machine_.Begin(*process_, kWriteOperation, "punch", name(), offset, size_bytes);
  if (outcome.dead) return Dead();
  if (outcome.error_number != 0) return Error(outcome.error_number, "punch", offset);
  if (!machine_.can_punch_) return Error(EOPNOTSUPP, "punch", offset);
  if (outcome.silent == Fault::Kind::kLoseWrite) return absl::OkStatus();
  content_->Punch(offset, size_bytes);
  return absl::OkStatus();
}

class SimLock final : public io::FileLock {
 public:
  SimLock(SimMachine& machine, std::shared_ptr<SimMachine::Process> process, std::string name)
      : machine_(machine), process_(std::move(process)), name_(std::move(name)) {}
  ~SimLock() override {
    std::lock_guard lock(machine_.mutex_);
    int64_t& holders = process_->locks[name_];
    holders = holders < 0 ? 0 : holders - 1;
  }

 private:
  SimMachine& machine_;
  const std::shared_ptr<SimMachine::Process> process_;
  const std::string name_;
};

// Which of the reads under way end next, and in which order, follows from a seed.
class SimReads final : public io::AsyncReads {
 public:
  SimReads(io::Counters& counters, size_t depth, const Rng& rng) : AsyncReads(counters, depth), rng_(rng) {
    under_way_.reserve(depth);
  }
  void Wake() noexcept override {
    base::MutexLock lock(mutex_);
    woken_ = true;
    wake_.NotifyOne();
  }
  int descriptor() override { return -1; }

 protected:
  void DoQueue(io::ReadRequest& request) override { under_way_.push_back(&request); }
  void DoWait(uint64_t timeout_nanos) override {
    {
      base::MutexLock lock(mutex_);
      if (!woken_ && under_way_.empty() && timeout_nanos != 0) wake_.WaitFor(mutex_, timeout_nanos);
      woken_ = false;
    }
    const size_t least = timeout_nanos == 0 || under_way_.empty() ? 0 : 1;
    for (size_t ending = rng_.Between(least, under_way_.size()); ending > 0; --ending) {
      std::swap(under_way_[rng_.Below(under_way_.size())], under_way_.back());
      io::ReadRequest& request = *under_way_.back();
      under_way_.pop_back();
      ReadNow(request);
      Ended(request);
    }
  }

 private:
  Rng rng_;
  std::vector<io::ReadRequest*> under_way_;
  base::Mutex mutex_;
  base::CondVar wake_;
  bool woken_ ABSL_GUARDED_BY(mutex_) = false;
};

class SimDisk final : public io::Disk {
 public:
  SimDisk(SimMachine& machine, std::shared_ptr<SimMachine::Process> process)
      : machine_(machine), process_(std::move(process)) {}

  absl::StatusOr<std::vector<std::string>> List(std::string_view folder) override;
  absl::Status MakeFolder(std::string_view name) override;
  absl::Status SyncFolder(std::string_view folder) override;
  absl::StatusOr<std::unique_ptr<io::FileLock>> Lock(std::string_view name, bool exclusive) override;
  absl::StatusOr<uint64_t> FreeBytes() override;
  absl::StatusOr<std::unique_ptr<io::AsyncReads>> NewAsyncReads(size_t depth) override;
  std::string_view kind() const override { return "simulated"; }
  std::string_view fallback_reason() const override { return ""; }
  std::string_view path() const override { return "/simulated"; }

 protected:
  absl::StatusOr<std::unique_ptr<io::File>> DoOpen(std::string_view name, io::OpenMode mode) override;
  absl::Status DoRemove(std::string_view name) override;
  absl::Status DoRename(std::string_view from, std::string_view to) override;
  absl::StatusOr<std::unique_ptr<io::SharedMemory>> DoMapShared(std::string_view name, uint64_t size_bytes) override;

 private:
  // Counts the operation; an error when it must not go on.
  absl::Status Begin(Operation operation, std::string_view what, std::string_view name)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(machine_.mutex_);

  SimMachine& machine_;
  const std::shared_ptr<SimMachine::Process> process_;
};

absl::Status SimDisk::Begin(Operation operation, std::string_view what, std::string_view name) {
  const SimMachine::Outcome outcome = machine_.Begin(*process_, operation, what, name);
  if (outcome.dead) return Dead();
  if (outcome.error_number == 0) return absl::OkStatus();
  return base::ErrnoStatus(outcome.error_number, std::string(what) + " " + std::string(name));
}

absl::StatusOr<std::unique_ptr<io::File>> SimDisk::DoOpen(std::string_view name, io::OpenMode mode) {
  base::SchedulePoint();
  std::lock_guard lock(machine_.mutex_);
  FIRN_RETURN_IF_ERROR(Begin(kOpenOperation, "open", name));
  if (process_->open_files >= machine_.open_files_max_) {
    return base::ErrnoStatus(EMFILE, "open " + std::string(name));
  }
  std::shared_ptr<SimContent> content = machine_.folders_.Find(name);
  if (mode == io::OpenMode::kCreate) {
    if (content != nullptr) return base::ErrnoStatus(EEXIST, "create " + std::string(name));
    if (!machine_.folders_.HasFolder(SimFolders::FolderOf(name))) {
      return base::ErrnoStatus(ENOENT, "create " + std::string(name));
    }
    ++machine_.writes_;
    content = std::make_shared<SimContent>();
    machine_.folders_.Add(name, content);
  } else if (content == nullptr) {
    return base::ErrnoStatus(ENOENT, "open " + std::string(name));
  }
  ++process_->open_files;
  return std::make_unique<SimFile>(std::string(name), counters_, machine_, process_, std::move(content),
                                   mode != io::OpenMode::kRead);
}

absl::StatusOr<std::vector<std::string>> SimDisk::List(std::string_view folder) {
  base::SchedulePoint();
  std::lock_guard lock(machine_.mutex_);
  FIRN_RETURN_IF_ERROR(Begin(kFolderOperation, "list", folder));
  if (!machine_.folders_.HasFolder(folder)) return base::ErrnoStatus(ENOENT, "list " + std::string(folder));
  std::vector<std::string> names = machine_.folders_.List(folder);
  for (size_t i = names.size(); i > 1; --i) std::swap(names[i - 1], names[machine_.rng_.Below(i)]);
  return names;
}

absl::Status SimDisk::DoRemove(std::string_view name) {
  base::SchedulePoint();
  std::lock_guard lock(machine_.mutex_);
  FIRN_RETURN_IF_ERROR(Begin(kFolderOperation, "remove", name));
  if (machine_.folders_.Find(name) == nullptr) return base::ErrnoStatus(ENOENT, "remove " + std::string(name));
  ++machine_.writes_;
  machine_.folders_.Remove(name);
  return absl::OkStatus();
}

absl::Status SimDisk::DoRename(std::string_view from, std::string_view to) {
  base::SchedulePoint();
  std::lock_guard lock(machine_.mutex_);
  FIRN_RETURN_IF_ERROR(Begin(kFolderOperation, "rename", from));
  if (machine_.folders_.Find(from) == nullptr || !machine_.folders_.HasFolder(SimFolders::FolderOf(to))) {
    return base::ErrnoStatus(ENOENT, "rename " + std::string(from) + " to " + std::string(to));
  }
  ++machine_.writes_;
  machine_.folders_.Rename(from, to);
  return absl::OkStatus();
}

absl::Status SimDisk::MakeFolder(std::string_view name) {
  base::SchedulePoint();
  std::lock_guard lock(machine_.mutex_);
  FIRN_RETURN_IF_ERROR(Begin(kFolderOperation, "make folder", name));
  if (!machine_.folders_.HasFolder(name)) ++machine_.writes_;
  machine_.folders_.AddFolder(name);
  return absl::OkStatus();
}

absl::Status SimDisk::SyncFolder(std::string_view folder) {
  base::SchedulePoint();
  std::lock_guard lock(machine_.mutex_);
  FIRN_RETURN_IF_ERROR(Begin(kFolderOperation, "sync folder", folder));
  if (!machine_.folders_.HasFolder(folder)) return base::ErrnoStatus(ENOENT, "sync folder " + std::string(folder));
  machine_.folders_.MakeDurable(folder);
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<io::FileLock>> SimDisk::Lock(std::string_view name, bool exclusive) {
  base::SchedulePoint();
  std::lock_guard lock(machine_.mutex_);
  FIRN_RETURN_IF_ERROR(Begin(kFolderOperation, "lock", name));
  if (machine_.folders_.Find(name) == nullptr) {
    if (!exclusive) return base::ErrnoStatus(ENOENT, "lock " + std::string(name));
    ++machine_.writes_;
    machine_.folders_.Add(name, std::make_shared<SimContent>());
  }
  for (const std::shared_ptr<SimMachine::Process>& process : machine_.processes_) {
    const auto held = process->locks.find(name);
    if (held == process->locks.end() || held->second == 0) continue;
    if (exclusive || held->second < 0) {
      return base::Unavailable("lock " + std::string(name) + ": another open store holds it");
    }
  }
  int64_t& holders = process_->locks[std::string(name)];
  holders = exclusive ? -1 : holders + 1;
  return std::make_unique<SimLock>(machine_, process_, std::string(name));
}

absl::StatusOr<std::unique_ptr<io::SharedMemory>> SimDisk::DoMapShared(std::string_view name, uint64_t size_bytes) {
  base::SchedulePoint();
  std::lock_guard lock(machine_.mutex_);
  FIRN_RETURN_IF_ERROR(Begin(kFolderOperation, "map", name));
  std::shared_ptr<SimContent> content = machine_.folders_.Find(name);
  if (content == nullptr) {
    if (!machine_.HasRoom(base::RoundUp(size_bytes, kPageBytes))) {
      return base::ErrnoStatus(ENOSPC, "map " + std::string(name));
    }
    ++machine_.writes_;
    content = std::make_shared<SimContent>();
    content->Resize(size_bytes);
    machine_.folders_.Add(name, content);
    // The real disks make it under another name, sync and rename it: it is whole and durable, or not there.
    content->MakeDurable(content->ChangesSoFar());
    machine_.folders_.MakeDurable(SimFolders::FolderOf(name));
  }
  if (content->size_bytes() != size_bytes) {
    return base::FailedPrecondition("map " + std::string(name) + ": the file has " +
                                    std::to_string(content->size_bytes()) + " bytes, not " +
                                    std::to_string(size_bytes));
  }
  return std::make_unique<SimMemory>(content->Map(), machine_, machine_.detachments());
}

absl::StatusOr<uint64_t> SimDisk::FreeBytes() {
  std::lock_guard lock(machine_.mutex_);
  if (!process_->alive) return Dead();
  const uint64_t claimed = machine_.folders_.ClaimedBytes();
  return machine_.capacity_bytes_ - std::min<uint64_t>(machine_.capacity_bytes_, claimed);
}

// Draws from a copy: the machine's own chances stay what they are without such reads.
absl::StatusOr<std::unique_ptr<io::AsyncReads>> SimDisk::NewAsyncReads(size_t depth) {
  base::SchedulePoint();
  std::lock_guard lock(machine_.mutex_);
  if (!process_->alive) return Dead();
  return std::make_unique<SimReads>(counters_, depth, machine_.rng_);
}

std::unique_ptr<io::Disk> SimMachine::Attach() {
  std::lock_guard lock(mutex_);
  processes_.push_back(std::make_shared<Process>());
  return std::make_unique<SimDisk>(*this, processes_.back());
}

}  // namespace firn::test
