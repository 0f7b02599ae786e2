"""Generated from protos/longvideo/v1 by `make stubs`. Not edited by hand."""
