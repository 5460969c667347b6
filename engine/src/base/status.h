// Status helpers: the one table from errno to codes, and the one place that converts to abseil's string_view
// (Debian's abseil, LTS 20220623, has a string_view of its own).
#pragma once

#include <string>
#include <string_view>

#include <absl/status/status.h>
#include <absl/status/statusor.h>

namespace firn::base {

// The code for an errno: ENOENT NotFound, ENOSPC and EDQUOT ResourceExhausted, EIO DataLoss and so on.
absl::StatusCode CodeOfErrno(int error_number);

// "write log/000001.seg at 4096: No space left on device (ENOSPC)". `context` says operation, path and offset.
absl::Status ErrnoStatus(int error_number, std::string_view context);

absl::Status MakeStatus(absl::StatusCode code, std::string_view message);

inline absl::Status InvalidArgument(std::string_view m) { return MakeStatus(absl::StatusCode::kInvalidArgument, m); }
inline absl::Status NotFound(std::string_view m) { return MakeStatus(absl::StatusCode::kNotFound, m); }
inline absl::Status DataLoss(std::string_view m) { return MakeStatus(absl::StatusCode::kDataLoss, m); }
inline absl::Status Unavailable(std::string_view m) { return MakeStatus(absl::StatusCode::kUnavailable, m); }
inline absl::Status Unimplemented(std::string_view m) { return MakeStatus(absl::StatusCode::kUnimplemented, m); }
inline absl::Status FailedPrecondition(std::string_view m) {
  return MakeStatus(absl::StatusCode::kFailedPrecondition, m);
}
inline absl::Status ResourceExhausted(std::string_view m) {
  return MakeStatus(absl::StatusCode::kResourceExhausted, m);
}

}  // namespace firn::base

#define FIRN_RETURN_IF_ERROR(expression)                                                   \
  do {                                                                                     \
    if (absl::Status firn_status_ = (expression); !firn_status_.ok()) return firn_status_; \
  } while (false)

#define FIRN_CONCAT_INNER(a, b) a##b
#define FIRN_CONCAT(a, b) FIRN_CONCAT_INNER(a, b)
// FIRN_ASSIGN_OR_RETURN(auto file, disk.Open(...));
#define FIRN_ASSIGN_OR_RETURN(declaration, expression)                                                           \
  auto FIRN_CONCAT(firn_result_, __LINE__) = (expression);                                                       \
  if (!FIRN_CONCAT(firn_result_, __LINE__).ok()) return std::move(FIRN_CONCAT(firn_result_, __LINE__)).status(); \
  declaration = *std::move(FIRN_CONCAT(firn_result_, __LINE__))
