//! What is to hold for every input and every order of events: the tests beside this file. They are a
//! crate of their own for what they need.
