#!/usr/bin/env bash
# Breaks the engine on purpose, one rule at a time, and demands that the crash tests notice.
#
# usage: mutants.sh BUILD_DIR WORK_DIR [NAME...]
#
# For each mutant one source file is copied, changed by one sed command that must apply, compiled with the flags of the
# build, and linked in place of the original into the crash tests. The tests named beside it must then fail. The build's own
# crash tests have to be built before, and to pass.
set -uo pipefail

build=${1:?usage: mutants.sh BUILD_DIR WORK_DIR [NAME...]}
work=${2:?usage: mutants.sh BUILD_DIR WORK_DIR [NAME...]}
shift 2
source_dir=$(cd "$(dirname "$0")/../.." && pwd)
mkdir -p "$work"
# A mutant may loop for good.
readonly test_seconds_max=120

# What Ninja would run to make a file.
command_for() { (cd "$build" && "$ninja" -t commands "$1" | tail -1); }
ninja=${CMAKE_MAKE_PROGRAM:-ninja}
readonly tests_target=tests/crash/firn_test_crash
link_command=$(command_for $tests_target)
[[ $link_command == *" -o $tests_target "* ]] || { echo "$build has no linker command for $tests_target"; exit 1; }

only=("$@")
checked=0 failures=0
fail() {
  echo "$1"
  failures=$((failures + 1))
}

mutant() {  # NAME FILE TESTS SED_COMMAND
  local name=$1 file=$source_dir/engine/src/$2 tests=$3 change=$4
  if ((${#only[@]})) && [[ " ${only[*]} " != *" $name "* ]]; then return; fi
  checked=$((checked + 1))
  local changed=$work/$name.cc object=$work/$name.o program=$work/$name log=$work/$name.log
  sed -E "$change" "$file" > "$changed"
  if cmp -s "$file" "$changed"; then
    fail "NOT APPLIED  $name: $2 does not have what is to be changed"
    return
  fi
  local original=engine/CMakeFiles/firn_${2%%/*}.dir/src/$2.o
  local command
  command=$(command_for "$original")
  # Without optimisation: the tests of one rule are quick, the compiler is not.
  if ! (cd "$build" && eval "${command%% -MD *} -O0 -w -o $object -c $changed") > "$log" 2>&1; then
    fail "NOT COMPILED $name: see $log"
    return
  fi
  command=${link_command/ $original / $object }
  command=${command/ -o $tests_target / -o $program }
  if ! (cd "$build" && eval "$command") >> "$log" 2>&1; then
    fail "NOT LINKED   $name: see $log"
    return
  fi
  if (cd "$work" && timeout "$test_seconds_max" "$program" "$tests" --abort) >> "$log" 2>&1; then
    fail "SURVIVED     $name: $tests passes"
  else
    echo "caught       $name"
  fi
  rm -f "$program" "$object"
}

# Rule 1: copies durable, retire durable, readers gone, reuse.
mutant retire_not_awaited log/segments.cc '[rule1]' \
  's/written\.ok\(\) \? WaitDurable\(written->revision\) : written\.status\(\)/written.status()/'
mutant readers_not_awaited log/segments.cc '[rule11]' 's/^  epochs_\.Synchronize\(\);$//; s/if \(durable\.ok\(\)\) epochs_\.Synchronize\(\);//'
mutant readers_lose_segments log/segments.cc '[rule11]' 's/if \(durable\.ok\(\)\) epochs_\.Synchronize\(\);//'
mutant retire_record_ignored log/recovery.cc '[rule1],[rule2]' \
  's/if \(std::count\(newest_->retired\.begin\(\), newest_->retired\.end\(\), listed\.id\) != 0\) continue;//'
# Rule 2: a tombstone stays while an older segment may hold its key.
mutant tombstones_retired log/segments.cc '[rule2]' 's/return is_oldest \|\| .*tombstones.*/return true;/'
mutant expired_is_no_tombstone db/upkeep.cc '[rule2]' 's/leaves_tombstone=\*\/true/leaves_tombstone=*\/false/'
mutant expired_is_no_tombstone_at_open db/open.cc '[rule2]' 's/state\.put_segment->tombstones\.fetch_add.*;//; s/if \(state\.change_segment != nullptr\) state\.change_segment->tombstones.*;//'
# Rule 3: nothing beyond a cut is believed.
mutant cut_ignored log/recovery.cc '[rule3]' 's/ScanSealed\(\*segment, end\)/ScanSealed(*segment, segment->file->size_bytes())/'
mutant cut_not_durable log/log.cc '[rule3]' 's/^  FIRN_RETURN_IF_ERROR\(WaitDurable\(LastReserved\(\)\)\);//'
mutant recovered_tail_not_synced log/recovery.cc '[recovery]' 's/return newest_->file->Sync\(\);/return absl::OkStatus();/'
# What recovery believes.
mutant watermark_ignored log/recovery.cc '[damage],[A7]' 's/if \(header\.durable > end\) return/if (false) return/'
mutant segments_not_synced_in_order log/commit.cc '[rule1],[rule3],[revision]' \
  's/if \(last_written_ != nullptr && last_written_ != unit\.segment\) FIRN_RETURN_IF_ERROR.*/;/'
mutant unit_checksum_not_verified format/unit.cc '[damage],[A9],[rule3]' \
  's/base::Hash64\(covered, seed\.At\(offset\)\)\) \{/base::Hash64(covered, seed.At(offset)) \&\& false) {/'
mutant record_checksum_not_verified format/record.cc '[damage]' 's/^  if \(.*base::Hash64\(covered.*decoded\.reset\(\);//'
mutant batch_torn_in_tail log/tail.cc '[A9]' 's/if \(\(decoded->record\.flags & format::record_flags::kInBatch\) != 0\) continue;//'
mutant revision_not_above_lost log/log.cc '[revision]' 's/\(recovered\.clean \? 0 : kRevisionGapAfterCrash\)/0/'
mutant crash_taken_for_close log/recovery.cc '[revision]' 's/if \(candidates_\.back\(\)->id > newest_->id\) result_\.clean = false;//'
# Footers and the merge of directories.
mutant footer_without_tombstones format/footer_builder.cc '[A1]' \
  's/^void FooterBuilder::Add\(const DirectoryEntry& entry\) \{/&\n  if (entry.type == RecordType::kDelete) return;/'
mutant expiry_change_lost_at_merge db/open.cc '[A2]' 's/if \(put_segment == nullptr\) break;/break;/'
mutant footer_checksum_not_verified format/footer_reader.cc '[A5]' \
  's/base::Hash64\(body, seed\.At\(trailer\.footer_offset\)\)\)/base::Hash64(body, seed.At(trailer.footer_offset)) \&\& false)/'
# Faults.
mutant failed_write_not_poisonous log/commit.cc '[A11],[faults]' 's/if \(!status\.ok\(\)\) Poison\(status\);//'
mutant undurable_served db/read.cc '[A11]' 's/^  return log_->health\(\);/  return absl::OkStatus();/'
mutant writers_not_drained log/commit.cc '[A3]' 's/for \(int turn = 0; unit\.writers\.load\(.*//'

echo "$checked mutants, $failures failures"
exit $((failures > 0))
