# The deliberate defects, for mutants.sh to read: `mutant NAME FILE WHO CHANGE`.
#
# FILE is below engine/src; CHANGE is a sed -E script that has to change it. WHO has to notice: a test program without
# its prefix firn_test_, and its arguments, such as `db -# [#snapshot_test]` or `sim --seeds 40`; tags alone mean the
# crash tests. A program and arguments that pass with the engine as it is.

# Rule 1: copies durable, retire durable, readers gone, reuse.
mutant retire_not_awaited log/segments.cc '[rule1]' \
  's/^    return WaitDurable\(written\.revision\);$/    return absl::OkStatus();/'
mutant readers_not_awaited log/segments.cc '[rule11]' 's/^  epochs_\.Synchronize\(\);$//'
mutant readers_lose_segments log/segments.cc '[rule11]' '0,/^  epochs_\.Synchronize\(\);$/s///'
mutant retire_record_ignored log/recovery_load.cc '[rule1],[rule2]' \
  's/if \(std::count\(newest_->retired\.begin\(\), newest_->retired\.end\(\), id\) != 0\) continue;//'
mutant relocation_not_synced log/segment.cc '[relocation]' 's/return file\.Sync\(\);/return absl::OkStatus();/'
mutant relocation_is_newest log/recovery.cc '[relocation]' 's/if \(segment\.header\.generation > 0\) continue;//'
mutant adopted_ignored log/recovery_load.cc '[relocation]' 's/^.*newest_->adopted\) ends\[.*$//'
# Rule 2: a tombstone stays while an older segment may hold its key.
mutant tombstones_retired log/segments.cc '[rule2]' 's/return segment->tombstones\.load.* != 0 &&$/return false \&\&/'
mutant expired_is_no_tombstone db/upkeep.cc '[rule2]' 's/leaves_tombstone=\*\/true/leaves_tombstone=*\/false/'
mutant expired_is_no_tombstone_at_open db/open.cc '[rule2]' 's/state\.put_segment->tombstones\.fetch_add.*;//; s/if \(state\.change_segment != nullptr\) state\.change_segment->tombstones.*;//'
mutant tombstone_dropped_by_reclaim db/relocator.cc '[reclaim]' 's/return needed \? Fate::kTombstone : Fate::kGarbage;/return Fate::kGarbage;/'
mutant kept_copies_ignored db/relocator.cc '[reclaim]' 's/ \|\| kept_copies_\.contains\(hash\)//; s/store_\.versions_->Keeps\(index_key\)/false/'
mutant expired_dropped_by_reclaim db/relocator.cc '[reclaim]' 's/if \(hidden \|\| !expired\) return/return/'
mutant adoption_not_awaited log/relocation.cc '[reclaim],[relocation]' \
  's/^  FIRN_RETURN_IF_ERROR\(WaitDurable\(written->revision\)\);//'
mutant moved_before_adopted log/relocation.cc '[reclaim],[relocation]' 's/^.*AppendControl\(\{\.type = format::RecordType::kAdopt.*$/    segments_.Insert(segment); return absl::StatusOr<Written>(Written{});/; s/^ *io::Claimant::kControl, segment\);$//'
mutant expiry_change_not_moved db/relocator.cc '[reclaim]' 's/if \(names_it && current && .*\) return Fate::kMove;//'
mutant swept_before_recorded db/upkeep.cc '[reclaim],[rule2]' 's/if \(expiry\.at_ms > recorded_ms\) \{/if (false) {/'
mutant delete_of_expired_writes_nothing db/write.cc '[reclaim],[rule2]' 's/planned\.writes = planned\.found && .*;/planned.writes = false;/'
mutant prefix_not_dropped db/upkeep.cc '[reclaim]' 's/^    versions_->DropPrefix.*$//'
# Rule 3: nothing beyond a cut is believed.
mutant cut_ignored log/recovery_load.cc '[rule3]' 's/ScanSealed\(\*segment, end\)/ScanSealed(*segment, segment->file->size_bytes())/'
mutant cut_not_durable log/log.cc '[rule3]' 's/^  FIRN_RETURN_IF_ERROR\(WaitDurable\(LastReserved\(\)\)\);//'
mutant recovered_tail_not_synced log/recovery.cc '[recovery]' 's/return newest_->file->Sync\(\);/return absl::OkStatus();/'
# Rules 4 and 5: an extent is durable before its pointer, and freed last.
mutant extents_not_synced db/open.cc '[rule4]' 's/return values_->Sync\(\); \},/return absl::OkStatus(); },/'
mutant tail_values_not_restored db/open.cc '[rule4]' 's/return RestoreValues\(payload\); \}/return payload.size() < 1e9; }/'
mutant restored_values_not_rewritten values/value_store.cc '[rule4]' 's/^    FIRN_RETURN_IF_ERROR\(handle->Write\(pointer\.offset \+ at, piece.*$//'
mutant found_extents_not_synced values/value_store.cc '[A13]' 's/^      if \(!clean\) FIRN_RETURN_IF_ERROR\(handle->Sync\(\)\);$//'
mutant freed_before_durable db/upkeep.cc '[rule5]' 's/FreeDropped\(log_->durable_revision\(\),/FreeDropped(UINT64_MAX,/'
mutant unpublished_is_unwritten db/write.cc '[rule5]' 's/log_->health\(\)\.ok\(\) \? 0 : kNeverDurable/0/'
mutant failed_open_is_clean values/value_store.cc '[rule4]' 's/^  if \(!recovered_\) return base::FailedPrecondition.*$//'
mutant dirty_cleared_after_sync values/dirty_files.cc '[together]' 's/durable_\.store\(covered,/durable_.store(marks_.load(),/'
mutant extent_readers_not_awaited values/value_free.cc '[readers]' 's/^    epochs_\.Synchronize\(\);$//'
mutant snapshots_not_awaited db/write.cc '[snapshots]' \
  's/^  if \(old && !kept\) DropVersion\(\*old, revision\);$/&\n  if (old \&\& kept \&\& IsSeparated(old->entry)) values_->Release(old->entry.size, revision);/'
mutant holes_not_synced values/value_store.cc '[values]' 's/if \(!file->shrunk\.exchange\(false\)\) continue;/continue;/'
mutant plan_outlives_wait db/write.cc '[A12]' 's/planned\.writes = !planned\.superseded;/planned.writes = !planned.superseded \&\& (planned.writes || planned.record_bytes == 0);/'
mutant shared_spare_reused log/segments.cc '[links]' 's/^    if \(links == 1\) return file;/    return file;/'
mutant shared_segment_recycled log/segments.cc '[links]' 's/const bool ours_alone = links\.ok\(\) && \*links == 1;/const bool ours_alone = true;/; s/^    if \(links == 1\) return file;/    return file;/'
mutant shared_values_punched values/value_free.cc '[links]' 's/^  if \(!links\.ok\(\) \|\| \*links != 1\) return 0;//'
mutant shared_values_cut values/value_store.cc '[links]' 's/if \(links != 1 \|\| handle->size_bytes/if (handle->size_bytes/'
mutant shared_values_appended_to values/value_store.cc '[links]' 's/if \(links\.ok\(\) && \*links == 1 && /if (/'
mutant moved_values_not_synced db/relocator.cc '[evacuation]' 's/^  if \(value_file_\) FIRN_RETURN_IF_ERROR\(store_\.values_->Sync\(\)\);//'
mutant copy_does_not_decide db/directory_merge.cc '[evacuation]' 's/in_a = SegmentOf\(a\)\.id, in_b = SegmentOf\(b\)\.id;/in_a = SegmentOf(b).id, in_b = SegmentOf(a).id;/'
# Extents that are shared, and what nobody names.
mutant dropped_extents_shared values/extent_table.cc '[equal]' 's/if \(extent\.state == kReady\) Unlink\(shard, slot\);//'
mutant duplicates_not_compared values/value_write.cc '[collisions]' 's/if \(same\.ok\(\) && \*same\) \{/if (true) {/'
mutant duplicates_counted_once values/extent_table.cc '[equal]' '/^ExtentTable::Acquired ExtentTable::Adopt/,/^}/s/\+\+extent\.references;//'
mutant phantom_references db/open.cc '[A4]' 's/value_pointer = record\.value_pointer;/if (!record.value_pointer.empty()) &/'
mutant rot_healed_with_another values/value_write.cc '[collisions]' 's/^  if \(check != table_\.CheckOf\(slot\)\) return false;.*$//'
mutant rot_not_healed values/value_write.cc '[A13]' 's/return Heal\(place, source\)\.ok\(\);/return false;/'
mutant orphans_not_given_back values/value_store.cc '[values]' 's/^      file->AddFreeRange\(at, base::RoundUp.*$//'
# What recovery believes.
mutant salvage_ends_with_unit log/segment_scan.cc '[salvage]' 's/^    at = next;$/    break;/; s/^      continue;$/      break;/'
mutant salvage_tears_batches log/segment_scan.cc '[salvage]' 's/whole_ = !batches_ \|\| BeginsOperation.*$/whole_ = true;/'
mutant close_mark_ignored log/recovery.cc '[closed]' 's/if \(!close_mark_ \|\| end >= close_mark_->end\)/if (true)/'
mutant close_mark_not_durable log/log.cc '[closed]' 's/^  return tail->Sync\(\);$/  return absl::OkStatus();/'
mutant watermark_ignored log/recovery.cc '[damage],[A7]' 's/if \(header\.durable > end\) return/if (false) return/'
mutant segments_not_synced_in_order log/commit.cc '[rule1],[rule3],[revision]' \
  's/if \(last_written_ != nullptr && last_written_ != unit->segment\) FIRN_RETURN_IF_ERROR.*/;/'
mutant unit_checksum_not_verified format/unit.cc '[damage],[A9],[rule3]' \
  's/base::Hash64\(covered, seed\.At\(offset\)\)\) \{/base::Hash64(covered, seed.At(offset)) \&\& false) {/'
mutant record_checksum_not_verified format/record.cc '[damage]' 's/^  if \(.*base::Hash64\(covered.*decoded\.reset\(\);//'
mutant batch_torn_in_tail log/tail.cc '[A9]' 's/if \(\(decoded->record\.flags & format::record_flags::kInBatch\) != 0\) continue;//'
mutant revision_not_above_lost log/log.cc '[revision]' 's/\(recovered\.clean \? 0 : kRevisionGapAfterCrash\)/0/'
mutant crash_taken_for_close log/recovery.cc '[revision]' 's/segment->id > newest_->id\) result_\.clean = false;/false) {}/'
# Footers and the merge of directories.
mutant footer_without_tombstones format/footer_builder.cc '[A1]' \
  's/^void FooterBuilder::Add\(const DirectoryEntry& entry\) \{/&\n  if (entry.type == RecordType::kDelete) return;/'
mutant expiry_change_lost_at_merge db/open.cc '[A2]' 's/if \(put_segment == nullptr\) break;/break;/'
mutant footer_checksum_not_verified format/footer_reader.cc '[A5]' \
  's/base::Hash64\(body, seed\.At\(trailer\.footer_offset\)\)\)/base::Hash64(body, seed.At(trailer.footer_offset)) \&\& false)/'
mutant footer_believed_by_its_looks format/footer_reader.cc '[A6]' 's/ != base::Hash64\(Covered\(end\).*$/ == 0) {/; s/ !=$/ == 0 \&\&/; s/^  if \(std::memcmp\(at \+ trailer::kSaltAt.*$//'
mutant unit_believed_wherever_it_is format/unit.cc '[A6],[A9],[rule3],[damage],[rule1]' 's/seed\.At\(offset\)/0/'
# A full disk.
mutant reserve_not_made io/room.cc '[A12]' 's/if \(reserve_bytes_ >= wanted_bytes\) \{/if (true) {/'
mutant lowered_quota_forever io/room.cc '[lowered]' 's/^    if \(used_bytes\(\) <= LimitFor\(Claimant::kWrite\)\) opened_with_bytes_ = 0;$//'
mutant reserve_taken_by_puts log/append.cc '[reserve]' 's/if \(claimant < active_for_\) return Need::kSegment;//; s/ \|\| claimant < prepared_for_//'
mutant reserve_taken_by_deletes io/room.cc '[reserve]' 's/return sizes_\.reclaim_bytes \+ sizes_\.control_bytes;/return 0;/'
mutant quota_ignored io/room.cc '[A12]' 's/return base::ResourceExhausted\("max_disk_bytes is used up"\);/;/'
mutant seal_not_claimed log/append.cc '[seal]' 's/base::RoundUp\(directory_bytes_ \+ directory_bytes, format::kBlockBytes\) <=/0 <=/'
mutant room_not_awaited db/room.cc '[A12]' 's/if \(waits\+\+ >= kRoomWaitsMax \|\| /if (true || /'
mutant refused_size_kept log/prepare.cc '[reserve]' 's/if \(!status\.ok\(\)\) attempt\.capacity_bytes = 0;.*//'
mutant garbage_not_made_room db/reclaim.cc '[A12]' 's/ && !room_->full\(\)\) \{/) {/; s/reclaim::Within\(GoalFor\(space\), space, capacity_bytes\)/GoalFor(space)/; s/room_->full\(\) \? 1 : //'
# Faults.
mutant failed_write_not_poisonous log/commit.cc '[A11],[faults]' 's/if \(!status\.ok\(\)\) Poison\(status\);//'
mutant undurable_served db/read.cc '[A11]' 's/^  return log_->health\(\);/  return absl::OkStatus();/'
mutant superblock_not_repaired db/superblock.cc '[superblock]' 's/RepairSuperblock\(other\);/absl::OkStatus();/'
mutant tail_ignored log/recovery.cc '[kill]' 's/^  tail_units_ = FindTailUnits.*$//'
mutant writers_not_drained log/commit.cc '[A3]' 's/for \(int turn = 0; unit\.writers\.load\(.*//'
