//! Properties of Portcall's parts that hold whatever they are given: all of it is in tests/.
