dlx_unit_test(test_solve_hessian MODULES base kernels solve LABELS portable)
dlx_unit_test(test_solve_factor MODULES base kernels solve LABELS portable)
dlx_unit_test(test_solve_grid MODULES base kernels solve graph quant format_json
              LIBS dlx_format_archive PkgConfig::JANSSON)
dlx_unit_test(test_solve_gptq MODULES base kernels solve LABELS long)
dlx_unit_test(test_solve_awq MODULES base kernels solve LABELS portable)
dlx_unit_test(test_solve_mix MODULES base kernels solve LABELS portable)

# Not part of `all`: build it by name.
if(TARGET dlx_solve)
  add_executable(bench_solve EXCLUDE_FROM_ALL ${PROJECT_SOURCE_DIR}/bench/bench_solve.c $<TARGET_OBJECTS:dlx_base>
                 $<TARGET_OBJECTS:dlx_kernels> $<TARGET_OBJECTS:dlx_solve>)
  target_link_libraries(bench_solve PRIVATE dlx_flags m Threads::Threads)
endif()

# Solvers on matrices in files: what tests/py/test_solve_oracle.py compares with PyTorch.
if(TARGET dlx_solve)
  add_executable(solve_files ${PROJECT_SOURCE_DIR}/tests/unit/solve_files.c $<TARGET_OBJECTS:dlx_base>
                 $<TARGET_OBJECTS:dlx_kernels> $<TARGET_OBJECTS:dlx_solve>)
  target_link_libraries(solve_files PRIVATE dlx_flags m Threads::Threads)
endif()
