# Programs of bench/ that are built from here; they are no tests and not part of `all`.
add_executable(bench_sessions EXCLUDE_FROM_ALL ${PROJECT_SOURCE_DIR}/bench/bench_sessions.c)
target_link_libraries(bench_sessions PRIVATE dlx_core)
if(NOT DLX_RUNTIME_ONLY)
  add_executable(bench_constraint EXCLUDE_FROM_ALL ${PROJECT_SOURCE_DIR}/bench/bench_constraint.c)
  target_link_libraries(bench_constraint PRIVATE dlx_core)
endif()
