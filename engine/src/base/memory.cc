#include "base/memory.h"

#include <string_view>

namespace firn::base {
namespace {

constexpr std::string_view kMessage = "out of memory: an allocation, or a thread, could not be had";

// Made when the first call of the process needs memory at all, which is when the first store is opened.
const absl::Status* Made() {
  static const absl::Status* made = nullptr;
  static const bool tried [[maybe_unused]] =
      IfMemoryPermits([] { made = new absl::Status(ResourceExhausted(kMessage)); });
  return made;
}

// While the program starts, when there is memory.
const absl::Status* const made_early [[maybe_unused]] = Made();

}  // namespace

absl::Status OutOfMemory() {
  const absl::Status* const made = Made();
  return made != nullptr ? *made : absl::Status(absl::StatusCode::kResourceExhausted, absl::string_view());
}

bool IsOutOfMemory(const absl::Status& status) {
  return absl::IsResourceExhausted(status) &&
         (status.message().empty() || status.message() == absl::string_view(kMessage.data(), kMessage.size()));
}

}  // namespace firn::base
