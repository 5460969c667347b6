// What a seed decides: its settings, its faults and its crashes.
#include <algorithm>
#include <cerrno>
#include <iterator>

#include "log/tail.h"
#include "memory/value_cache.h"
#include "sim/seed_life.h"

namespace firn::test {

Settings DrawSettings(Rng& rng) {
  Settings settings;
  settings.clients = rng.Between(1, 4);
  settings.keys = rng.OneIn(3) ? 12 : rng.Between(30, 150);
  static constexpr size_t kValueBytes[] = {200, 200, 3'000, 12'000};
  settings.value_bytes_max = kValueBytes[rng.Below(std::size(kValueBytes))];
  static constexpr double kSwitches[] = {0.02, 0.1, 0.3, 0.6};
  settings.switch_probability = kSwitches[rng.Below(std::size(kSwitches))];
  static constexpr uint64_t kStepNanos[] = {0, 0, 1'000, 100'000};
  settings.nanos_per_step = kStepNanos[rng.Below(std::size(kStepNanos))];
  settings.latency_nanos_max = rng.OneIn(2) ? 0 : 200'000;
  static constexpr uint32_t kFlushMs[] = {1, 50, 1'000, 60'000};
  settings.flush_interval_ms = kFlushMs[rng.Below(std::size(kFlushMs))];
  static constexpr uint64_t kSegmentBytes[] = {64 * 1024, 128 * 1024, 512 * 1024};
  settings.segment_bytes_min = kSegmentBytes[rng.Below(std::size(kSegmentBytes))];
  static constexpr double kBuffered[] = {0.1, 0.5, 0.95};
  settings.buffered_share = kBuffered[rng.Below(std::size(kBuffered))];
  settings.clock_jumps_back = rng.OneIn(4);
  static constexpr uint64_t kThresholds[] = {0, 4 * 1024, 4 * 1024, 32 * 1024};
  settings.value_separation_threshold_bytes = kThresholds[rng.Below(std::size(kThresholds))];
  static constexpr uint32_t kAlignments[] = {4 * 1024, 4 * 1024, 16 * 1024, 128 * 1024};
  settings.value_alignment_bytes = kAlignments[rng.Below(std::size(kAlignments))];
  settings.can_punch = !rng.OneIn(4);
  settings.max_space_amplification = 1.1 + 0.1 * static_cast<double>(rng.Below(20));
  static constexpr uint64_t kFloorSegments[] = {0, 1, 1, 4};
  settings.ceiling_floor_segments = kFloorSegments[rng.Below(std::size(kFloorSegments))];
  if (rng.OneIn(3)) settings.max_disk_bytes = log::kTailFileBytes + settings.segment_bytes_min * rng.Between(12, 30);
  if (rng.OneIn(6)) settings.index_bytes_max = rng.Between(8, 60) * 1024;
  // What a copy shares takes space that is not the store's.
  settings.links = settings.max_disk_bytes == 0 && rng.OneIn(6);
  // Of a copy: what seeds draw from here on stays what it was.
  Rng apart = rng;
  static constexpr uint64_t kCacheBytes[] = {0, 0, memory::ValueCache::kShardBytesMin, uint64_t{8} << 20};
  settings.cache_bytes_max = kCacheBytes[apart.Below(std::size(kCacheBytes))];
  settings.image_keys_min = apart.OneIn(4) ? 0 : 1;
  if (apart.OneIn(3)) settings.async_share = 0.3;
  return settings;
}

void Simplify(const Simpler& simpler, Settings& settings) {
  if (simpler.one_client) settings.clients = 1;
  if (simpler.few_keys) settings.keys = 6;
  if (simpler.small_values) settings.value_bytes_max = 40;
  if (simpler.in_log) settings.value_separation_threshold_bytes = 0;
  if (simpler.no_latency) settings.latency_nanos_max = 0;
  if (simpler.no_quota) settings.max_disk_bytes = 0;
  if (simpler.few_switches) settings.switch_probability = 0.01;
}

void SeedRun::PlanFault(Session& session, bool finale) {
  Session::Tolerance tolerance;
  tolerance.no_room = settings_.max_disk_bytes != 0;
  tolerance.index_full = settings_.index_bytes_max != 0;
  if (finale) {
    damaged_ = tolerance.read_errors = tolerance.write_errors = true;
    PlanDamage();
  } else if (rng_.OneIn(4) && !options_.simpler.no_faults) {
    PlanError(tolerance);
  }
  io_errors_ = errors_expected_ = tolerance.write_errors;
  session.set_tolerance(tolerance);
}

// The medium lies.
void SeedRun::PlanDamage() {
  if (rng_.OneIn(3)) {
    const std::vector<std::string> names = world_.machine.FileNames();
    const std::string& name = names[rng_.Below(names.size())];
    if (const uint64_t size = world_.machine.FileSize(name); size > 0) {
      world_.machine.FlipBits(name, rng_.Below(size), static_cast<std::byte>(1u << rng_.Below(8)));
      report_.Count(Feature::kBitRot);
      Say("bits flip in %s", name.c_str());
    }
    return;
  }
  Fault fault;
  fault.after = rng_.Below(60);
  if (rng_.OneIn(2)) {
    fault.operations = kReadOperation;
    fault.kind = Fault::Kind::kStaleRead;
    fault.lasting = rng_.OneIn(2);
    stale_reads_ = fault;
  } else {
    fault.operations = kWriteOperation;
    fault.kind = rng_.OneIn(2) ? Fault::Kind::kMisdirect : Fault::Kind::kLoseWrite;
    report_.Count(fault.kind == Fault::Kind::kMisdirect ? Feature::kMisdirected : Feature::kLostWrite);
  }
  world_.machine.Inject(fault);
  Say("damage planned: kind %d after %llu operations%s", static_cast<int>(fault.kind),
      static_cast<unsigned long long>(fault.after), fault.lasting ? ", lasting" : "");
}

// The machine says that it fails.
void SeedRun::PlanError(Session::Tolerance& tolerance) {
  Fault fault;
  fault.after = rng_.Below(60);
  fault.lasting = rng_.OneIn(3);
  switch (rng_.Below(7)) {
    case 0:
      fault.operations = kWriteOperation;
      report_.Count(Feature::kWriteError);
      break;
    case 1:
      fault.operations = kSyncOperation;
      report_.Count(Feature::kSyncError);
      break;
    case 2:
      fault.operations = kReadOperation;
      report_.Count(Feature::kReadError);
      break;
    case 3:
      fault.operations = 0;
      world_.machine.set_capacity_bytes(world_.machine.claimed_bytes() + rng_.Below(300'000));
      tolerance.no_room = true;
      report_.Count(Feature::kDiskFull);
      break;
    case 4:
      fault.operations = kOpenOperation | kAllocateOperation;
      report_.Count(Feature::kNoDescriptors);
      break;
    case 5:
      fault.operations = kAnyOperation;
      fault.error_number = ENOMEM;
      report_.Count(Feature::kNoMemory);
      break;
    default:
      fault.operations = kAnyOperation;
      report_.Count(Feature::kAnyError);
      break;
  }
  if (fault.operations != 0) {
    tolerance.write_errors = tolerance.no_room = tolerance.read_errors = true;
    world_.machine.Inject(fault);
  }
  Say("fault planned: operations %u after %llu%s%s", fault.operations, static_cast<unsigned long long>(fault.after),
      fault.lasting ? ", lasting" : "", fault.error_number != 0 ? ", of memory" : "");
}

void SeedRun::PlanCrash(Ending ending) {
  if (ending != Ending::kKill && ending != Ending::kPowerCut) return;
  const Crash crash = RandomCrash(ending == Ending::kKill ? CrashKind::kKill : CrashKind::kPowerCut);
  if (rng_.OneIn(2)) {
    world_.machine.CrashAfter(rng_.Below(12), crash);
  } else {
    crash_at_step_ = {scheduler_.steps() + rng_.Below(400), crash};
  }
}

}  // namespace firn::test
