#include "space/engine.h"

namespace firn::bench {

absl::StatusOr<std::unique_ptr<Engine>> OpenEngine(const EngineSpec& spec, const std::string& path) {
  switch (spec.kind) {
    case EngineKind::kFirn:
      return OpenFirn(spec, path);
    case EngineKind::kRocksDb:
    case EngineKind::kRocksDbBlob:
      return OpenRocksDb(spec, path);
    case EngineKind::kFilePerValue:
      return OpenFilePerValue(spec, path);
  }
  return absl::InvalidArgumentError("no such engine");
}

}  // namespace firn::bench
