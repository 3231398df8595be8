# Programs of bench/ that are built from here; they are no tests and not part of `all`.
add_executable(bench_sessions EXCLUDE_FROM_ALL ${PROJECT_SOURCE_DIR}/bench/bench_sessions.c)
target_link_libraries(bench_sessions PRIVATE dlx_core)
add_executable(bench_choice EXCLUDE_FROM_ALL ${PROJECT_SOURCE_DIR}/bench/bench_choice.c)
target_link_libraries(bench_choice PRIVATE dlx_core)
