if(NOT DLX_RUNTIME_ONLY)
  dlx_unit_test(test_completion MODULES LIBS dlx_core)
  dlx_unit_test(test_completion_cache MODULES LIBS dlx_core)
endif()
