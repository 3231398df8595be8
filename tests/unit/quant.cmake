dlx_unit_test(test_forms MODULES base graph quant solve kernels)
dlx_unit_test(test_quant MODULES base graph quant solve kernels format_json LIBS dlx_format_archive PkgConfig::JANSSON)
if(NOT DLX_RUNTIME_ONLY)
  dlx_unit_test(test_int8_file LIBS dlx_core)
  dlx_unit_test(test_scheme_files LIBS dlx_core LABELS threads) # those of exports
endif()
