dlx_unit_test(test_kernels MODULES base kernels)
dlx_unit_test(test_kernels_gemm MODULES base kernels)
dlx_unit_test(test_kernels_attention MODULES base kernels)
dlx_unit_test(test_kernels_kv8 MODULES base kernels)
dlx_unit_test(test_kernels_grid MODULES base kernels)
dlx_unit_test(test_probe MODULES base kernels)
dlx_unit_test(test_threads MODULES base)
dlx_unit_test(test_cpu MODULES base)

# Not part of `all`: build it by name.
add_executable(bench_kernels EXCLUDE_FROM_ALL ${PROJECT_SOURCE_DIR}/bench/bench_kernels.c
               $<TARGET_OBJECTS:dlx_base> $<TARGET_OBJECTS:dlx_kernels>)
target_link_libraries(bench_kernels PRIVATE dlx_flags m Threads::Threads)
