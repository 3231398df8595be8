# The AVX-VNNI set once more, with the same instructions in AVX-512's encoding: CPUs that have only these run it too.
add_library(avxvnni_twin INTERFACE)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
  add_library(avxvnni_twin_objects OBJECT EXCLUDE_FROM_ALL ${PROJECT_SOURCE_DIR}/src/kernels/avxvnni.c)
  target_link_libraries(avxvnni_twin_objects PRIVATE dlx_flags)
  target_compile_definitions(avxvnni_twin_objects PRIVATE dlx_kernels_set_avxvnni=dlx_kernels_set_avxvnni_twin)
  dlx_isa_source(avxvnni.c -mavx2 -mfma -mf16c -mavx512f -mavx512vl -mavx512vnni)
  target_sources(avxvnni_twin INTERFACE $<TARGET_OBJECTS:avxvnni_twin_objects>)
  target_compile_definitions(avxvnni_twin INTERFACE DLX_AVXVNNI_TWIN)
endif()
dlx_unit_test(test_kernels MODULES base kernels LIBS avxvnni_twin LABELS kernels)
dlx_unit_test(test_kernels_gemm MODULES base kernels LIBS avxvnni_twin LABELS kernels)
dlx_unit_test(test_kernels_attention MODULES base kernels LABELS kernels)
dlx_unit_test(test_kernels_kv8 MODULES base kernels LABELS kernels)
dlx_unit_test(test_kernels_grid MODULES base kernels LABELS kernels)
dlx_unit_test(test_row_summary MODULES base kernels constrain diffusion LIBS avxvnni_twin LABELS kernels)
dlx_unit_test(test_probe MODULES base kernels)
dlx_unit_test(test_threads MODULES base)
dlx_unit_test(test_cpu MODULES base)

# Not part of `all`: build it by name.
add_executable(bench_kernels EXCLUDE_FROM_ALL ${PROJECT_SOURCE_DIR}/bench/bench_kernels.c
               $<TARGET_OBJECTS:dlx_base> $<TARGET_OBJECTS:dlx_kernels>)
target_link_libraries(bench_kernels PRIVATE dlx_flags m Threads::Threads)
