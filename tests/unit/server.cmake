# The parts of server/ that need no model and no connection.
if(TARGET dlx_server)
  dlx_unit_test(test_server_parts LIBS dlx_server LABELS threads)
  dlx_unit_test(test_server_shared LIBS dlx_server LABELS threads)
endif()
