dlx_unit_test(test_quant MODULES base graph quant format_json LIBS dlx_format_archive PkgConfig::JANSSON)
if(NOT DLX_RUNTIME_ONLY)
  dlx_unit_test(test_int8_file LIBS dlx_core)
endif()
