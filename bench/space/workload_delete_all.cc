// e: everything is deleted, and then nobody calls.
#include <algorithm>
#include <chrono>
#include <thread>

#include "space/session.h"
#include "space/watchers.h"
#include "space/workloads.h"
#include "support/device.h"

namespace firn::bench {
namespace {

constexpr double kShrunkShare = 0.05;

absl::StatusOr<Figures> DeleteAndIdle(const Config& config, const EngineSpec& spec, const std::string& directory) {
  absl::StatusOr<Session> session = Session::Open(spec, directory, config.KeysFor(spec.value_bytes));
  if (!session.ok()) return session.status();
  if (absl::Status status = session->Load().status(); !status.ok()) return status;
  uint64_t peak = AllocatedBytes(directory);
  const uint64_t device_before = ProcessWrittenBytes(), start = NowNs();
  if (absl::Status status = session->DeleteAll(); !status.ok()) return status;
  Figures figures = {{"delete_seconds", static_cast<double>(NowNs() - start) * 1e-9}};
  const uint64_t idle_start = NowNs(), deadline = idle_start + static_cast<uint64_t>(config.idle_seconds * 1e9);
  uint64_t bytes = AllocatedBytes(directory);
  while (true) {
    peak = std::max(peak, bytes);
    if (static_cast<double>(bytes) < kShrunkShare * static_cast<double>(peak)) {
      figures["shrunk_seconds"] = static_cast<double>(NowNs() - idle_start) * 1e-9;
      break;
    }
    if (NowNs() >= deadline) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    bytes = AllocatedBytes(directory);
  }
  figures["peak_bytes"] = static_cast<double>(peak);
  figures["end_bytes"] = static_cast<double>(bytes);
  figures["end_share"] = static_cast<double>(bytes) / static_cast<double>(peak);
  figures["device_bytes"] = static_cast<double>(ProcessWrittenBytes() - device_before);
  if (absl::Status status = session->VerifyAndClose(&figures); !status.ok()) return status;
  return figures;
}

}  // namespace

absl::Status RunDeleteAll(const Config& config) {
  constexpr double kPerMiB = 1.0 / static_cast<double>(kMiB);
  Workload workload{"e", "delete everything, then idle; '-': not below 5 % of the peak in the time given", {}, {}};
  workload.columns = {{"peak_bytes", "peak MiB", kPerMiB, 1},  {"delete_seconds", "deleting s"},
                      {"shrunk_seconds", "below 5 % after s"}, {"end_bytes", "end MiB", kPerMiB, 1},
                      {"end_share", "end share %", 100, 2},    {"device_bytes", "device MiB", kPerMiB, 1}};
  for (const uint64_t bytes : SizesOr(config, {4 * kKiB, 128 * kKiB})) {
    const auto run = [&config](const EngineSpec& spec, const std::string& path) {
      return DeleteAndIdle(config, spec, path);
    };
    if (absl::Status status = AddCasePerEngine(config, bytes, run, &workload); !status.ok()) return status;
  }
  return RunWorkload(config, workload).status();
}

}  // namespace firn::bench
