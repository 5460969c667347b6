// A machine with a disk that loses power, kills processes and breaks, all from one seed.
//
//   SimMachine machine(seed);
//   std::unique_ptr<io::Disk> disk = machine.Attach();   // a process opens the store's directory
//   ...
//   machine.Crash({CrashKind::kPowerCut, Survival::kSectors});
//   disk = machine.Attach();                              // the next process finds what is left
//
// A crash is an instant. What the files hold is decided there and then; disks attached before are dead, each of their
// operations answers Unavailable and changes nothing, so the old process may run its destructors whenever it likes.
// Memory it had mapped stays its own, and nobody sees it any more.
//
// Every operation is a scheduling point before it begins and, for transfers and syncs, in the middle. Without a
// scheduler everything works too, on any threads.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <absl/base/thread_annotations.h>

#include "io/disk.h"
#include "support/rng.h"
#include "support/sim_storage.h"

namespace firn::test {

enum class CrashKind {
  kKill,      // the process dies: finished writes and shared memory stay
  kPowerCut,  // the machine dies: only what was synced is sure to stay
};

struct Crash {
  CrashKind kind = CrashKind::kPowerCut;
  Survival survival = Survival::kSectors;  // for kPowerCut, and for the writes under way at a kill
};

// Bits, to name sets of operations.
enum Operation : unsigned {
  kReadOperation = 1,
  kWriteOperation = 2,
  kSyncOperation = 4,
  kOpenOperation = 8,
  kAllocateOperation = 16,
  kFolderOperation = 32,  // list, remove, rename, make and sync folders, lock, map
  kAnyOperation = 63,
};

struct Fault {
  enum class Kind {
    // EIO, or EMFILE when opening, or ENOSPC when allocating; of a write behind told at once or by the next sync.
    kError,
    kMisdirect,  // a write reports success and lands elsewhere, in its file or another; punches and cuts are not
                 // misdirected
    kLoseWrite,  // a write, punch or cut reports success and does nothing. What is claimed is the file system's word.
    kStaleRead,  // a read reports success and gives what some of its pages held before
  };
  Kind kind = Kind::kError;
  unsigned operations = kAnyOperation;
  uint64_t after = 0;    // of these operations, how many go well first
  bool lasting = false;  // fails from then on, not once
  int error_number = 0;  // of kError, such as ENOMEM; 0: the one that is usual
};

// All that a machine's disk holds at one moment, which may be in the middle of writes. Pages are shared, not copied.
struct DiskMoment {
  struct WriteUnderWay {
    std::shared_ptr<SimContent> content;
    uint64_t offset;
    std::vector<std::byte> data;
  };
  SimFolders folders;
  std::vector<WriteUnderWay> writes_under_way;
};

class SimMachine {
 public:
  explicit SimMachine(uint64_t seed);
  // A machine on which just that moment is, for one Crash() of it before anything else.
  SimMachine(uint64_t seed, const DiskMoment& moment);
  ~SimMachine();
  SimMachine(const SimMachine&) = delete;

  std::unique_ptr<io::Disk> Attach();

  // To be called between operations or from a scheduler's step hook.
  void Crash(const test::Crash& crash);
  // What becomes of each unsynced thing is for `fates` to say.
  void Crash(CrashKind kind, CutFates& fates);
  // Crashes in the middle of the operation that comes after `count` further ones.
  void CrashAfter(uint64_t count, const test::Crash& crash);
  uint64_t crashes() const { return crashes_; }
  // When the last crash came, in the scheduler's virtual time.
  uint64_t crashed_at_nanos() const { return crashed_at_nanos_; }

  void Inject(const Fault& fault);
  void ClearFaults();  // injected faults and planned crashes
  uint64_t faults_hit() const { return faults_hit_; }
  uint64_t stale_pages_read() const { return stale_pages_read_; }
  // After a failed fsync the page cache also evicts what it did not write: reads see what was there before.
  void set_failed_sync_evicts(bool evicts) { failed_sync_evicts_ = evicts; }
  uint64_t pages_evicted() const { return pages_evicted_; }

  void set_capacity_bytes(uint64_t bytes) { capacity_bytes_ = bytes; }
  // False: the file system has no holes.
  void set_can_punch(bool can) { can_punch_ = can; }
  void set_open_files_max(uint64_t count) { open_files_max_ = count; }
  // With a scheduler, each transfer and sync takes up to this much virtual time.
  void set_latency_nanos_max(uint64_t nanos) { latency_nanos_max_ = nanos; }

  // Called with one line for each operation, when it takes effect. It must not use the machine.
  void set_trace(std::function<void(const std::string&)> trace) { trace_ = std::move(trace); }

  // Called before each operation that may change the disk takes effect, and by NoteMoment(). It must not use the
  // machine.
  void set_watch(std::function<void(DiskMoment)> watch) { watch_ = std::move(watch); }
  void NoteMoment();

  // Bit rot: flips bits of one byte, on the medium and in every cache. The file must exist and be that long.
  void FlipBits(std::string_view name, uint64_t offset, std::byte mask);
  void WriteBackMappings();
  // The file system lets go of every mapping: what is stored there from now on stays with the process.
  void DetachMappings();
  uint64_t detachments() const { return detachments_; }

  // A hard link, as a copy of the store would have: `to` is a second name for the file `from`, in a folder that is
  // made. That name, and what the file holds by now, are durable when this returns.
  void Link(std::string_view from, std::string_view to);

  uint64_t operations() const { return operations_; }
  uint64_t writes() const { return writes_; }  // operations that change files or folders
  uint64_t claimed_bytes() const;
  std::vector<std::string> FileNames() const;  // with folders, sorted
  uint64_t FileSize(std::string_view name) const;
  std::string ReadFile(std::string_view name) const;  // as programs would see it now
  // Of all names, bytes and what is claimed; of a machine on which no process has mapped a file.
  uint64_t Hash() const;

 private:
  friend class SimDisk;
  friend class SimFile;
  friend class SimLock;

  // One attached process, alive until the next crash.
  struct Process {
    bool alive = true;
    uint64_t open_files = 0;
    std::map<std::string, int64_t, std::less<>> locks;  // -1: held alone; n: shared by n
  };
  struct WriteUnderWay {
    std::shared_ptr<SimContent> content;
    uint64_t offset;
    base::Bytes data;
  };
  struct Outcome {
    int error_number = 0;  // 0: go on
    bool dead = false;
    std::optional<Fault::Kind> silent;
  };

  Outcome Begin(const Process& process, Operation operation, std::string_view what, std::string_view name,
                uint64_t offset = 0, uint64_t size_bytes = 0) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Outcome Decide(Operation operation, uint64_t number) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  DiskMoment MomentLocked() const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  void CrashLocked(CrashKind kind, CutFates& fates) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Misdirect(const std::shared_ptr<SimContent>& meant, base::Bytes data) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool HasRoom(uint64_t more_bytes) const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  void TakeTime();

  // Never held at a scheduling point, so a scheduled thread never waits for it.
  mutable std::mutex mutex_;
  Rng rng_ ABSL_GUARDED_BY(mutex_);
  SimFolders folders_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::shared_ptr<Process>> processes_ ABSL_GUARDED_BY(mutex_);
  std::vector<WriteUnderWay*> writes_under_way_ ABSL_GUARDED_BY(mutex_);
  std::vector<Fault> faults_ ABSL_GUARDED_BY(mutex_);
  std::optional<uint64_t> crash_at_ ABSL_GUARDED_BY(mutex_);
  test::Crash planned_crash_ ABSL_GUARDED_BY(mutex_);
  std::function<void(const std::string&)> trace_;
  std::function<void(DiskMoment)> watch_;
  // Of the moment that this machine began with.
  std::vector<DiskMoment::WriteUnderWay> begun_with_ ABSL_GUARDED_BY(mutex_);
  std::atomic<uint64_t> crashes_{0}, crashed_at_nanos_{0}, faults_hit_{0}, operations_{0}, writes_{0};
  std::atomic<uint64_t> stale_pages_read_{0}, pages_evicted_{0}, detachments_{0};
  std::atomic<bool> can_punch_{true}, failed_sync_evicts_{false};
  std::atomic<uint64_t> capacity_bytes_{UINT64_MAX}, open_files_max_{UINT64_MAX}, latency_nanos_max_{0};
};

// Time that a test moves: with a scheduler it is the scheduler's virtual time, else each look advances it by 1 us.
class SimClock final : public base::Clock {
 public:
  int64_t WallTimeMs() override;
  uint64_t MonotonicNanos() override;
  // The wall clock is set forward or, with a negative number, back.
  void JumpWall(int64_t milliseconds) { wall_offset_ms_ += milliseconds; }
  // Advances both clocks; not with a scheduler.
  void Advance(uint64_t nanos) { own_nanos_ += nanos; }

 private:
  std::atomic<uint64_t> own_nanos_{1'000'000'000};
  std::atomic<int64_t> wall_offset_ms_{1'700'000'000'000};
};

}  // namespace firn::test
