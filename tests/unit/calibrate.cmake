if(NOT DLX_RUNTIME_ONLY)
  dlx_unit_test(test_calibrate_layerwise LIBS dlx_core)
  dlx_unit_test(test_calibrate_samples LIBS dlx_core)
endif()
