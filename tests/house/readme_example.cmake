# Runs the README's example in a folder of its own and expects the output that its last comment promises.
file(REMOVE_RECURSE ${work_dir})
file(MAKE_DIRECTORY ${work_dir})
execute_process(COMMAND ${program} WORKING_DIRECTORY ${work_dir}
  OUTPUT_VARIABLE output RESULT_VARIABLE result)
message(STATUS "printed: ${output}")
if(NOT result EQUAL 0 OR NOT output MATCHES "^42\n$")
  message(FATAL_ERROR "the README's example ended with ${result} and printed '${output}'")
endif()
