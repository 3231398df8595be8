if(NOT DLX_RUNTIME_ONLY)
  dlx_unit_test(test_model_resolve MODULES base graph format_json model LIBS dlx_format_archive PkgConfig::JANSSON)
  dlx_unit_test(test_model_rope MODULES base graph format_json model LIBS dlx_format_archive PkgConfig::JANSSON)
  dlx_unit_test(test_model_config MODULES base graph format_json model LIBS dlx_format_archive PkgConfig::JANSSON)
  dlx_unit_test(test_model_weights MODULES base graph format_json model LIBS dlx_format_archive PkgConfig::JANSSON)
  dlx_unit_test(test_model_forward MODULES base graph kernels runtime format_json model backends backends_xnnpack
                LIBS dlx_format_archive PkgConfig::JANSSON)
endif()
