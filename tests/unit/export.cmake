if(NOT DLX_RUNTIME_ONLY)
  dlx_unit_test(test_export_choices LIBS dlx_core)
  dlx_unit_test(test_export LIBS dlx_core)
endif()
